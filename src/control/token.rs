//! The control API's bearer token that allows everything: from the settings, from its file, or generated into that file
//! at the first start.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::config::settings::Control;
use crate::proxy::token::Token;

/// Bytes of a generated token: 256 bits.
const GENERATED_BYTES: usize = 32;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the control token from {path}: {source}")]
    Read {
        /// The token's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file (or its directory) cannot be made.
    #[error("cannot write a new control token to {path}: {source}")]
    Write {
        /// The token's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds nothing, or only white space.
    #[error("the control token file {0} is empty; remove it to have a new token generated")]
    Empty(PathBuf),
    /// The system gives no random bytes.
    #[error("no random bytes for a control token: {0}")]
    Random(getrandom::Error),
}

/// The token that the settings name: theirs, else the file's, else a new one that is written there. Logs the file's
/// path, never the token.
///
/// # Errors
/// The file can neither be read nor made, or is empty.
pub fn resolve(control: &Control) -> Result<Token, TokenError> {
    if let Some(text) = &control.token {
        return Ok(Token::new(text));
    }
    let path = &control.token_file;
    let text = match read(path) {
        Err(TokenError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let text = generate(path)?;
            tracing::info!(path = %path.display(), "generated a control token");
            text
        }
        result => {
            tracing::info!(path = %path.display(), "reading the control token");
            result?
        }
    };
    Ok(Token::new(&text))
}

/// The token in a file, white space around it removed. Warns when others than its owner can read it.
///
/// # Errors
/// The file cannot be read, or is empty.
pub fn read(path: &Path) -> Result<String, TokenError> {
    let failed = |source| TokenError::Read { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(failed)?;
    if is_exposed(fs::metadata(path).map_err(failed)?.permissions().mode()) {
        tracing::warn!(path = %path.display(), "the control token file is readable by others than its owner");
    }
    match text.trim() {
        "" => Err(TokenError::Empty(path.to_owned())),
        token => Ok(token.to_owned()),
    }
}

const fn is_exposed(mode: u32) -> bool {
    mode & 0o077 != 0
}

/// Writes a new token to a file that must not exist yet, for its owner's eyes alone.
fn generate(path: &Path) -> Result<String, TokenError> {
    let failed = |source| TokenError::Write { path: path.to_owned(), source };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let written = random_text().and_then(|text| {
        writeln!(file, "{text}").and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(text)
    });
    if written.is_err() {
        // An empty file would be taken for the token at the next start.
        let _ = fs::remove_file(path);
    }
    written
}

fn random_text() -> Result<String, TokenError> {
    let mut bytes = [0; GENERATED_BYTES];
    getrandom::fill(&mut bytes).map_err(TokenError::Random)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(token: Option<&str>, token_file: PathBuf) -> Control {
        Control {
            assumed: false,
            address: ([127, 0, 0, 1], 0).into(),
            token: token.map(str::to_owned),
            token_file,
            tokens: Vec::new(),
            allowed_hosts: Vec::new(),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn token_in_the_settings_wins_and_touches_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(resolve(&control(Some("given"), path.clone())).unwrap().matches(b"given"));
        assert!(!path.exists());
    }

    #[test]
    fn token_is_generated_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state").join("token");
        let first = resolve(&control(None, path.clone())).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let text = read(&path).unwrap();
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(&text).unwrap().len(), GENERATED_BYTES);
        assert!(first.matches(text.as_bytes()));
        assert!(resolve(&control(None, path)).unwrap().matches(text.as_bytes()), "the second start reads it");

        let other = dir.path().join("other");
        resolve(&control(None, other.clone())).unwrap();
        assert_ne!(read(&other).unwrap(), text);
    }

    #[test]
    fn token_file_that_cannot_serve_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, " \n").unwrap();
        assert!(matches!(resolve(&control(None, path)), Err(TokenError::Empty(_))));
        let under_a_file = dir.path().join("token").join("below");
        assert!(matches!(resolve(&control(None, under_a_file)), Err(TokenError::Read { .. })));
        let not_to_be_made = PathBuf::from("/proc/no-such-directory/token");
        assert!(matches!(resolve(&control(None, not_to_be_made)), Err(TokenError::Write { .. })));
    }

    #[test]
    fn token_file_modes_that_expose_it() {
        let table = [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o644, true), (0o660, true)];
        for (mode, exposed) in table {
            assert_eq!(is_exposed(mode), exposed, "{mode:o}");
        }
    }
}
