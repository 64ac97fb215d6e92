//! The control API in the words of the file, its tokens masked.

use serde_json::{Value, json};

use super::View;
use crate::config::settings::{Control, Scope, ScopedToken};

impl View {
    pub(super) fn control(&self, control: Option<&Control>) -> Value {
        let Some(Control { address, assumed: _, token, token_file, tokens, allowed_hosts }) = control else {
            return json!({ "address": "off" });
        };
        json!({
            "address": address.to_string(),
            "token": token.as_deref().map(|token| self.secret(token)),
            "token_file": token_file.display().to_string(),
            "tokens": tokens.iter().map(|token| self.scoped_token(token)).collect::<Vec<_>>(),
            "allowed_hosts": allowed_hosts,
        })
    }

    fn scoped_token(&self, ScopedToken { name, token, scopes }: &ScopedToken) -> Value {
        let scopes: Vec<_> = scopes.iter().copied().map(Scope::word).collect();
        json!({ "name": name, "token": self.secret(token), "scopes": scopes })
    }

    fn secret<'t>(&self, text: &'t str) -> &'t str {
        if self.secrets { text } else { "***" }
    }
}
