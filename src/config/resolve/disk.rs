//! The disk tier.

use super::{Resolver, file};
use crate::config::defaults;
use crate::config::scalar::{Size, Written, size_text};
use crate::config::settings::DiskTier;

/// With less a disk tier would do nothing but delete.
const LEAST: u64 = 16 << 20;

impl Resolver<'_> {
    pub(super) fn disk(&mut self, disk: &file::Disk) -> Option<DiskTier> {
        let bytes = |written: &Option<Written<Size>>| written.as_ref().map(|Written(Size(bytes))| *bytes);
        let path = match &disk.path {
            Some(path) if path.is_empty() => return None,
            path => path.as_ref(),
        };
        let is_mentioned =
            path.is_some() || disk.size.is_some() || disk.max_object.is_some() || disk.memory_object.is_some();
        let (Some(path), Some(size)) = (path, bytes(&disk.size)) else {
            let lacks = if path.is_none() { "path" } else { "size" };
            // One that was written wrongly is reported already.
            if is_mentioned && !self.surroundings.document.mentions(&format!("cache.disk.{lacks}")) {
                self.problem("cache.disk", format!("the disk tier lacks `{lacks}`"), None);
            }
            return None;
        };
        let max_object = bytes(&disk.max_object).unwrap_or(defaults::DISK_MAX_OBJECT.min(size / 4));
        let mut problem = |key: &str, message: String| self.problem(format!("cache.disk.{key}"), message, None);
        if size < LEAST {
            problem("size", format!("{} is too little, the least is {}", size_text(size), size_text(LEAST)));
        }
        if max_object > size {
            problem("max_object", format!("more than the {} of `size`", size_text(size)));
        }
        let memory_object = bytes(&disk.memory_object).unwrap_or(defaults::DISK_MEMORY_OBJECT);
        Some(DiskTier { path: self.path(path), size, max_object, memory_object })
    }
}
