//! Stories of caching through the real proxy: a scripted upstream, a manual clock.

mod clock;
mod filling;
mod freshness;
mod personal_files;
mod personal_refresh;
