//! A file with the places of what it says: for who finds something wrong in sound settings, such as a file that is
//! missing.

use super::diagnostics::Finding;
use super::tree::{self, Node};
use super::{Diagnostics, Source};

/// A configuration as it is written.
pub struct Document {
    name: String,
    text: String,
    root: Node,
}

impl Document {
    /// Reads it; what is wrong with its syntax is left out.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(source: &Source) -> Result<Self, Diagnostics> {
        let (name, text, _) = source.open()?;
        let (root, _) = tree::recover(&text, &mut Vec::new());
        Ok(Document { name, text, root })
    }

    /// Whether something is written at a path such as `control.token_file`.
    pub fn mentions(&self, path: &str) -> bool {
        self.root.mentions(path)
    }

    /// Shows messages at the paths, such as `upstreams.app.ca_file`, that they are about; `None`: there are none.
    pub fn diagnostics(&self, faults: Vec<(String, String)>) -> Option<Diagnostics> {
        let placed =
            |(path, message): (String, String)| Finding { span: self.root.span_of(&path), ..Finding::nowhere(message) };
        (!faults.is_empty())
            .then(|| Diagnostics::locate(&self.name, &self.text, faults.into_iter().map(placed).collect()))
    }
}
