//! Bearer tokens (RFC 6750): who presents one that is known, and what it allows.

use http::{HeaderMap, HeaderValue, header};
use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::hash::Output;
use std::sync::Arc;
use subtle::ConstantTimeEq;

use crate::config::settings::{Control, Scope, ScopedToken};

/// A token's digest, so that neither its text nor its length is kept or compared.
pub struct Token(Output);

/// Who presents a token.
#[derive(Debug, PartialEq, Eq)]
pub struct Holder {
    /// As audit lines name it.
    pub name: String,
    /// What it may; at least one.
    pub scopes: Vec<Scope>,
}

/// The tokens that are known.
#[derive(Debug, Default)]
pub struct Tokens(Vec<(Token, Arc<Holder>)>);

impl Token {
    /// From the token's text.
    pub fn new(text: &str) -> Self {
        Token(sha256(text.as_bytes()))
    }

    /// Whether these bytes are the token; takes the same time whichever of them differ.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.is(&sha256(presented))
    }

    fn is(&self, presented: &Output) -> bool {
        self.0.as_ref().ct_eq(presented.as_ref()).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Holder {
    /// Whether it may do what asks for a scope.
    pub fn may(&self, asked: Scope) -> bool {
        self.scopes.iter().any(|scope| scope.covers(asked))
    }
}

impl Tokens {
    /// The one token that allows everything, if there is one, and those that allow less.
    pub fn new(whole: Option<Token>, scoped: &[ScopedToken]) -> Self {
        let holder = |name: &str, scopes: &[Scope]| Arc::new(Holder { name: name.to_owned(), scopes: scopes.to_vec() });
        let whole = whole.map(|token| (token, holder(Control::HOLDER, &[Scope::Admin])));
        let scoped = scoped.iter().map(|it| (Token::new(&it.token), holder(&it.name, &it.scopes)));
        Tokens(whole.into_iter().chain(scoped).collect())
    }

    /// Whose token these bytes are. Every token is looked at, so that the time tells nothing of which it is.
    pub fn holder(&self, presented: &[u8]) -> Option<&Arc<Holder>> {
        let presented = sha256(presented);
        let found = |found, (token, holder): &'_ (Token, Arc<Holder>)| match token.is(&presented) {
            true => Some(Arc::as_ptr(holder)),
            false => found,
        };
        let found = self.0.iter().fold(None, found)?;
        self.0.iter().map(|(_, holder)| holder).find(|holder| Arc::as_ptr(holder) == found)
    }
}

/// The token that a request presents: that of the only Authorization field, when it is `Bearer` (RFC 6750 §2.1).
pub fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    values.next().filter(|_| values.next().is_none()).and_then(bearer)
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
    let token = rest.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

/// SHA-256 from the library that TLS brings along.
fn sha256(bytes: &[u8]) -> Output {
    match TLS13_AES_128_GCM_SHA256 {
        SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider.hash(bytes),
        SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider.hash(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scoped(name: &str, token: &str, scopes: &[Scope]) -> ScopedToken {
        ScopedToken { name: name.to_owned(), token: token.to_owned(), scopes: scopes.to_vec() }
    }

    #[test]
    fn token_matches_itself_only_and_debug_hides_it() {
        let token = Token::new("s3cret");
        assert!(token.matches(b"s3cret"));
        for near in ["s3cre", "s3cret ", "S3cret", "s3cret\0", "", "t3cret"] {
            assert!(!token.matches(near.as_bytes()), "{near:?}");
        }
        let known = Tokens::new(Some(token), &[scoped("ci", "s3cret-too", &[Scope::Purge])]);
        assert!(!format!("{known:?}").contains("s3cret"));
        // FIPS 180-2's example, so that the hash is what it is said to be.
        assert_eq!(Token::new("abc").0.as_ref()[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn holder_is_who_has_the_token_and_may_what_its_scopes_cover() {
        let known = Tokens::new(
            Some(Token::new("whole")),
            &[scoped("ci", "a", &[Scope::Purge]), scoped("eyes", "b", &[Scope::Read, Scope::Purge])],
        );
        for (presented, name, may) in [
            ("whole", Some("control"), [true, true, true]),
            ("a", Some("ci"), [false, true, false]),
            ("b", Some("eyes"), [true, true, false]),
            ("c", None, [false; 3]),
            ("", None, [false; 3]),
        ] {
            let holder = known.holder(presented.as_bytes());
            assert_eq!(holder.map(|holder| holder.name.as_str()), name);
            assert_eq!(Scope::ALL.map(|scope| holder.is_some_and(|holder| holder.may(scope))), may, "{presented}");
        }
        assert_eq!(Tokens::default().holder(b""), None);
    }
}
