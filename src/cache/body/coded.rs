//! A body in content codings that larder applied: they hang on the body as received, made when first asked for.

use super::SharedBody;
use crate::config::settings::Coding;

impl SharedBody {
    /// The same body in a coding, if it has been begun.
    pub fn coded(&self, coding: Coding) -> Option<SharedBody> {
        let side = self.0.side.lock();
        let coded = &side.made.as_ref()?.coded;
        coded.iter().find(|(of, _)| *of == coding).map(|(_, body)| body.clone())
    }

    /// The same; `make` is called to begin it where that has not been done, under the lock, so that it is begun once
    /// however many ask. It must not come back to this body.
    pub fn coded_or_begun(&self, coding: Coding, make: impl FnOnce() -> SharedBody) -> SharedBody {
        let mut side = self.0.side.lock();
        let bodies = &mut side.made.get_or_insert_default().coded;
        if let Some((_, body)) = bodies.iter().find(|(of, _)| *of == coding) {
            return body.clone();
        }
        let body = make();
        bodies.push((coding, body.clone()));
        body
    }

    /// Forgets a coding whose making failed.
    pub fn forget_coded(&self, coding: Coding) {
        if let Some(made) = &mut self.0.side.lock().made {
            made.coded.retain(|(of, _)| *of != coding);
        }
    }

    /// All codings that are complete.
    pub fn all_coded(&self) -> Vec<(Coding, SharedBody)> {
        let side = self.0.side.lock();
        let coded = side.made.iter().flat_map(|made| &made.coded);
        coded.filter(|(_, body)| body.len().is_some()).cloned().collect()
    }

    /// Bytes of memory that they hold.
    pub fn coded_held(&self) -> u64 {
        self.0.side.lock().made.iter().flat_map(|made| &made.coded).map(|(_, body)| body.held()).sum()
    }
}
