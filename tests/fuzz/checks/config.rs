//! The configuration: any text gives settings or says what is wrong with it.

use larder::config::{Overrides, Source, changes, load};

/// A file's text.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let source = Source::Text { name: "larder.toml".to_owned(), text: text.to_owned() };
    let env = |name: &str| (name == "HOME").then(|| "/home/larder".to_owned());
    match load(&source, &env, &Overrides::default()) {
        Ok(settings) => assert!(changes(&settings, &settings.clone()).is_empty()),
        Err(faults) => assert!(!faults.to_string().is_empty()),
    }
}
