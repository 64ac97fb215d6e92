//! Classes of devices, told apart by User-Agent.

use http::HeaderName;
use regex::RegexSet;

/// Classes of devices, for routes where the class is part of the cache key.
#[derive(Clone, Debug)]
pub struct Devices {
    /// The classes in order; the first that matches wins.
    pub classes: Vec<DeviceClass>,
    /// The class of all other devices.
    pub default: String,
    /// The request field that tells the upstream the class.
    pub field: HeaderName,
    /// Whether the upstream is told.
    pub send: bool,
    /// The expressions of all classes.
    pub set: RegexSet,
    /// The index of the class that each expression of the set belongs to.
    pub class_of: Vec<usize>,
}

/// A class of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceClass {
    /// Its name.
    pub name: String,
    /// Regular expressions; one must be found in the User-Agent.
    pub user_agent: Vec<String>,
}

impl Devices {
    /// Makes the set of the classes' expressions.
    ///
    /// # Errors
    /// One is none, or they are too large together.
    pub fn compile(&mut self) -> Result<(), regex::Error> {
        let of_class = |(index, class): (usize, &DeviceClass)| vec![index; class.user_agent.len()];
        self.class_of = self.classes.iter().enumerate().flat_map(of_class).collect();
        self.set = RegexSet::new(self.classes.iter().flat_map(|class| &class.user_agent))?;
        Ok(())
    }

    /// The class of a User-Agent.
    pub fn class(&self, user_agent: &str) -> &str {
        let found = self.set.matches(user_agent).iter().map(|expression| self.class_of[expression]).min();
        found.map_or(&self.default, |class| &self.classes[class].name)
    }
}
