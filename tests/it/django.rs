//! A stock Django project behind `larder run --upstream`, with no file: people log in and see their own pages, and
//! static files are kept.

mod browser;
mod site;

use futures_util::future::join_all;

use crate::support::larder::Larder;
use browser::{Browser, page_text};
use site::{PASSWORD, Site};

/// Requests of each visitor.
const VISITS: usize = 50;
const USERS: [&str; 2] = ["anna", "boris"];
const STYLE: &str = "/static/admin/css/base.css";

/// One story, because its beginning (a database, two superusers) is its longest part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn django_admin_works_and_nobody_sees_another_persons_page() {
    let site = Site::start(&USERS).await;
    let larder = Larder::before(&format!("http://{}", site.address)).await;

    nobody_is_let_in_without_the_password(&larder).await;
    let mut visitors = Vec::new();
    for user in USERS {
        visitors.push((Some(user), log_in(&larder, user).await));
    }
    visitors.push((None, Browser::new(larder.address)));
    assert_ne!(visitors[0].1.cookie("sessionid"), visitors[1].1.cookie("sessionid"));

    // All at once, so that misses that could collapse do meet.
    for _ in 0..VISITS {
        join_all(visitors.iter_mut().map(|(user, browser)| sees_only_own_pages(*user, browser))).await;
    }
    // The anonymous visitor asks for static files the others have fetched, with and without cookies.
    static_files_are_kept(&larder, &mut visitors).await;
    logging_out_ends_it(&larder, &mut visitors[0].1).await;
    sees_only_own_pages(Some("boris"), &mut visitors[1].1).await;
}

async fn nobody_is_let_in_without_the_password(larder: &Larder) {
    let mut browser = Browser::new(larder.address);
    let form = page_text(&browser.get("/admin/login/").await);
    let refused = browser
        .post("/admin/login/", &[("csrfmiddlewaretoken", &token(&form)), ("username", "anna"), ("password", "guess")])
        .await;
    assert_eq!(refused.status, 200);
    assert!(page_text(&refused).contains("Please enter the correct"), "{}", refused.text());
    assert_eq!(browser.cookie("sessionid"), None);
    // A form without the token, as another site would post it.
    let forged =
        Browser::new(larder.address).post("/admin/login/", &[("username", "anna"), ("password", PASSWORD)]).await;
    assert_eq!(forged.status, 403);
}

/// Logs in by the admin's form, as a browser does.
async fn log_in(larder: &Larder, user: &str) -> Browser {
    let mut browser = Browser::new(larder.address);
    let away = browser.get("/admin/").await;
    assert_eq!((away.status, away.field("location")), (302, "/admin/login/?next=/admin/"));
    let form = browser.get("/admin/login/?next=/admin/").await;
    assert!(!form.is_hit(), "a form with a token is nobody else's");
    let values = [
        ("csrfmiddlewaretoken", &*token(&page_text(&form))),
        ("username", user),
        ("password", PASSWORD),
        ("next", "/admin/"),
    ];
    let welcome = browser.post("/admin/login/?next=/admin/", &values).await;
    assert_eq!((welcome.status, welcome.field("location")), (302, "/admin/"), "{}", welcome.text());
    assert!(browser.cookie("sessionid").is_some());
    browser
}

/// Looks at the page that names its user and at the admin's front page.
async fn sees_only_own_pages(user: Option<&str>, browser: &mut Browser) {
    let page = browser.get("/whoami/").await;
    assert_eq!(page.status, 200);
    assert!(!page.is_hit(), "{:?}", page.fields);
    assert_eq!(page_text(&page), format!("<p>You are [{}].</p>", user.unwrap_or("AnonymousUser")));

    let admin = browser.get("/admin/").await;
    assert!(!admin.is_hit(), "{:?}", admin.fields);
    let Some(user) = user else {
        assert_eq!((admin.status, admin.field("location")), (302, "/admin/login/?next=/admin/"));
        return;
    };
    let text = page_text(&admin);
    assert_eq!(admin.status, 200);
    for known in USERS {
        assert_eq!(text.contains(&format!("<strong>{known}</strong>")), known == user, "{user}: {text}");
    }
}

async fn static_files_are_kept(larder: &Larder, visitors: &mut [(Option<&str>, Browser)]) {
    // Whoever asks, with a session or without.
    let first = visitors[0].1.get(STYLE).await;
    assert_eq!((first.status, first.is_hit()), (200, false), "{:?}", first.fields);
    assert_eq!(first.field("content-encoding"), "gzip");
    let text = page_text(&first);
    assert!(text.contains("DJANGO Admin styles") && first.body.content.len() < text.len() / 2);
    for (_, browser) in visitors {
        let again = browser.get(STYLE).await;
        assert!(again.is_hit(), "{:?}", again.fields);
        assert_eq!(again.body.content, first.body.content, "coded once");
        assert_eq!(again.field("cache-control"), "public, max-age=604800", "7 days for styles");
        assert_eq!(again.field("set-cookie"), "");
    }
    // Larder coded it, so a client that accepts no coding gets the same text plain.
    let host = larder.address.to_string();
    let plain = larder.get(STYLE, &[("Host", &host)]).await;
    assert_eq!((plain.field("content-encoding"), plain.text()), ("", text));
    // What the browser has is confirmed from the cache, by the validator that Django gave.
    let since = first.field("last-modified");
    let known = larder.get(STYLE, &[("Host", &host), ("Accept-Encoding", "gzip"), ("If-Modified-Since", since)]).await;
    assert_eq!((known.status, known.is_hit()), (304, true), "{since}: {:?}", known.fields);
}

async fn logging_out_ends_it(larder: &Larder, browser: &mut Browser) {
    let form = page_text(&browser.get("/admin/").await);
    let bye = browser.post("/admin/logout/", &[("csrfmiddlewaretoken", &token(&form))]).await;
    assert_eq!(bye.status, 200, "{}", bye.text());
    assert_eq!(browser.cookie("sessionid"), None);
    sees_only_own_pages(None, browser).await;
    sees_only_own_pages(None, &mut Browser::new(larder.address)).await;
}

/// The CSRF token of a page's form.
fn token(page: &str) -> String {
    let after = page.split_once("name=\"csrfmiddlewaretoken\" value=\"").expect("the form has a token").1;
    after.split('"').next().unwrap_or_default().to_owned()
}
