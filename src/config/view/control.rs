//! The control API in the words of the file, its tokens masked; and what unsafe requests purge.

use serde_json::{Value, json};

use super::{View, strings};
use crate::config::settings::{Control, Invalidation, PurgeMethod, Scope, ScopedToken};

impl View {
    pub(super) fn control(&self, control: Option<&Control>, purge_method: Option<&PurgeMethod>) -> Value {
        let purge_method = purge_method.map_or(
            json!({ "allow": [], "token": true }),
            |PurgeMethod { allow, tokens }| json!({ "allow": strings(allow), "token": tokens.is_some() }),
        );
        let Some(Control { address, assumed: _, token, token_file, tokens, allowed_hosts }) = control else {
            return json!({ "address": "off", "purge_method": purge_method });
        };
        json!({
            "address": address.to_string(),
            "token": token.as_deref().map(|token| self.secret(token)),
            "token_file": token_file.display().to_string(),
            "tokens": tokens.iter().map(|token| self.scoped_token(token)).collect::<Vec<_>>(),
            "allowed_hosts": allowed_hosts,
            "purge_method": purge_method,
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

pub(super) fn invalidation(rule: &Invalidation) -> Value {
    let Invalidation { tags, prefixes, globs, regexes, soft } = rule;
    json!({ "tag": strings(tags), "prefix": strings(prefixes), "glob": globs, "regex": regexes, "soft": soft })
}
