//! The control API and its tokens.

use super::{Resolver, defaults, endpoint};
use crate::config::file;
use crate::config::scalar::Written;
use crate::config::settings::{Control, Scope, ScopedToken};

impl Resolver<'_> {
    pub(super) fn control(&mut self, control: file::Control) -> Option<Control> {
        // An empty token is none, so that `${TOKEN:-}` is a way to leave the choice to the environment.
        let token = control.token.map(|Written(token)| token.0).filter(|token| !token.is_empty());
        let tokens = self.tokens(control.tokens, token.as_deref());
        Some(Control {
            assumed: control.address.is_none(),
            address: endpoint(control.address, defaults::CONTROL)?,
            token,
            token_file: match control.token_file {
                Some(path) => self.path(path),
                None => self.surroundings.state.join(defaults::TOKEN_FILE),
            },
            tokens,
            allowed_hosts: control.allowed_hosts.unwrap_or_default(),
        })
    }

    /// Messages name tokens by their names alone.
    fn tokens(&mut self, written: Vec<file::ScopedToken>, whole: Option<&str>) -> Vec<ScopedToken> {
        let mut tokens: Vec<ScopedToken> = Vec::new();
        for (index, written) in written.into_iter().enumerate() {
            let path = format!("control.tokens[{index}]");
            // What is missing was reported by the check.
            let (Some(Written(name)), Some(Written(token))) = (written.name, written.token) else { continue };
            let (name, token) = (name.0, token.0);
            if token.is_empty() {
                let help = "an unset variable would let nobody in, or anybody".to_owned();
                self.problem(format!("{path}.token"), format!("the token `{name}` is empty"), Some(help));
                continue;
            }
            if name == Control::HOLDER || tokens.iter().any(|other| other.name == name) {
                let message = match name.as_str() {
                    Control::HOLDER => format!("`{name}` is what the holder of `token` is called"),
                    _ => format!("there are two tokens named `{name}`"),
                };
                self.problem(format!("{path}.name"), message, None);
            }
            let same = tokens.iter().find(|other| other.token == token).map(|other| other.name.as_str());
            if let Some(other) = same.or((whole == Some(&*token)).then_some(Control::HOLDER)) {
                let message = format!("the token `{name}` has the same text as `{other}`");
                self.problem(format!("{path}.token"), message, None);
            }
            let mut scopes: Vec<Scope> = Vec::new();
            for scope in written.scopes.into_iter().map(scope) {
                if !scopes.contains(&scope) {
                    scopes.push(scope);
                }
            }
            tokens.push(ScopedToken { name, token, scopes });
        }
        tokens
    }
}

fn scope(written: file::Scope) -> Scope {
    match written {
        file::Scope::Read => Scope::Read,
        file::Scope::Purge => Scope::Purge,
        file::Scope::Admin => Scope::Admin,
    }
}
