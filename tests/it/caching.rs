//! Stories of caching through the real proxy: a scripted upstream, a manual clock.

mod freshness;
mod personal_files;
mod personal_refresh;
