//! The disk tier.

use super::*;

#[test]
fn disk_tier_has_defaults_and_raises_what_may_be_stored() {
    let settings = valid_with_app("[cache.disk]\npath = \"/x\"\nsize = \"8GiB\"\n");
    let disk = settings.disk.unwrap();
    assert_eq!((disk.size, disk.max_object, disk.memory_object), (8 << 30, 2 << 30, 1 << 20));
    assert_eq!(settings.routes[0].cache.max_object, 2 << 30);
    let own = valid_with_app("[cache.disk]\npath = \"/x\"\nsize = \"100GiB\"\n[cache.rules]\nmax_object = \"1MiB\"\n");
    assert_eq!((own.disk.unwrap().max_object, own.routes[0].cache.max_object), (4 << 30, 1 << 20));
    for off in ["", "[cache.disk]\n", "[cache.disk]\npath = \"\"\nsize = \"1GiB\"\n"] {
        let settings = valid_with_app(off);
        assert_eq!((settings.disk, settings.routes[0].cache.max_object), (None, 64 << 20), "{off}");
    }
}

#[test]
fn disk_tier_that_makes_no_sense_is_refused() {
    for (text, message) in [
        ("size = \"1GiB\"", "the disk tier lacks `path`"),
        ("path = \"/x\"", "the disk tier lacks `size`"),
        ("path = \"/x\"\nsize = \"1MiB\"", "1MiB is too little, the least is 16MiB"),
        ("path = \"/x\"\nsize = \"1GiB\"\nmax_object = \"2GiB\"", "more than the 1GiB of `size`"),
    ] {
        let shown = errors(&format!("{APP}[cache.disk]\n{text}\n"));
        assert!(shown.contains(message), "{shown}");
    }
}
