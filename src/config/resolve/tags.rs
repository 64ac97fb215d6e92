//! Tags of responses.

use super::plain_list;
use crate::config::file;
use crate::config::scalar::{Size, Written};
use crate::policy::tags::TagRules;

pub(super) fn tags(written: file::Tags) -> TagRules {
    let usual = TagRules::default();
    TagRules {
        fields: plain_list(written.fields).unwrap_or(usual.fields),
        most: written.most.unwrap_or(usual.most),
        longest: written
            .longest
            .map_or(usual.longest, |Written(Size(bytes))| usize::try_from(bytes).unwrap_or(usize::MAX)),
    }
}
