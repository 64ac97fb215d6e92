//! A stock Django project in a temporary directory, served as its tutorial serves it.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use crate::support::process::{Process, run};
use crate::support::python;

/// The password of both superusers.
pub(super) const PASSWORD: &str = "plums & pears";
/// One page of the project's own: it names its user, and says nothing about caching.
const URLS: &str = r#"
from django.contrib import admin
from django.http import HttpResponse
from django.urls import path


def whoami(request):
    return HttpResponse(f"<p>You are [{request.user}].</p>")


urlpatterns = [path("admin/", admin.site.urls), path("whoami/", whoami)]
"#;

/// A running project. Stopped, and its directory removed, when dropped.
pub(super) struct Site {
    pub(super) address: SocketAddr,
    _process: Process,
    _directory: TempDir,
}

impl Site {
    /// Made by `startproject` with its settings untouched, migrated, with superusers of those names.
    pub(super) async fn start(users: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let django = |arguments: &[&str]| {
            let mut command = Command::new(python());
            command.args(arguments).current_dir(directory.path()).env("PYTHONUNBUFFERED", "1");
            command.env("DJANGO_SUPERUSER_PASSWORD", PASSWORD).env_remove("DJANGO_SETTINGS_MODULE");
            command
        };
        run(&mut django(&["-m", "django", "startproject", "site_under_test", "."])).await;
        fs::write(directory.path().join("site_under_test/urls.py"), URLS).unwrap();
        run(&mut django(&["manage.py", "migrate", "--verbosity", "0"])).await;
        for user in users {
            let email = format!("{user}@app.test");
            let create = ["manage.py", "createsuperuser", "--noinput", "--username", user, "--email", &email];
            run(&mut django(&create)).await;
        }
        let mut process = Process::start(&mut django(&["manage.py", "runserver", "--noreload", "127.0.0.1:0"]));
        let address = process
            .line("its address", |line| {
                line.split_once("development server at http://")?.1.trim_end_matches('/').parse().ok()
            })
            .await;
        Site { address, _process: process, _directory: directory }
    }
}
