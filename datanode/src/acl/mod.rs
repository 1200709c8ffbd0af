//! Access control lists (<https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>): who may run
//! which commands on which keys and channels, with the rules of Redis 7.0.
//!
//! A [`User`] is immutable: a change makes another one, and whoever held the old one is given the new one. Nothing in
//! here knows of connections: `server::acl` applies what is decided here to them.

mod check;
mod commands;
mod describe;
pub mod file;
mod log;
mod rules;
mod selector;
#[cfg(test)]
mod tests;
mod user;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use check::{Denied, may_use_channel};
pub use commands::{category_named, in_category};
pub use log::{AclLog, Context, Entry, Reason};
pub use rules::{RuleError, has_blanks, join_selectors};
pub use selector::Selector;
pub use user::User;

use crate::config::Config;
use crate::config::types::PubsubDefault;
use crate::disk::Disk;

/// The user of every connection that has not said who it is.
pub const DEFAULT_USER: &[u8] = b"default";

/// Users by name.
pub type Users = BTreeMap<Vec<u8>, Arc<User>>;

/// All users, and the log of what was denied.
pub struct Acl {
    users: Users,
    default: Arc<User>,
    /// What was denied.
    pub log: AclLog,
}

impl Acl {
    /// The users that a configuration names: `user` lines or `aclfile`, and `requirepass`. The error is what the
    /// process ends with.
    pub fn load(config: &Config, disk: &dyn Disk) -> Result<Acl, String> {
        let mut acl = Acl::with(User::default_user());
        acl.set_default_password(&config.requirepass);
        let lines = &config.extra.users;
        if config.aclfile.is_empty() {
            for user in file::configured(lines, opens_channels(config))? {
                acl.put(user);
            }
        } else if lines.is_empty() {
            let users = file::load(config, disk)
                .map_err(|e| format!("Aborting Redis startup because of ACL errors: {e}"))?;
            acl.replace_all(users);
        } else {
            return Err(file::BOTH.into());
        }
        // Whoever keeps the password in a file changes it there, whatever was last written about the user.
        if !config.password_file.is_empty() {
            acl.set_default_password(&config.requirepass);
        }
        Ok(acl)
    }

    fn with(default: User) -> Acl {
        let default = Arc::new(default);
        let users = [(DEFAULT_USER.to_vec(), default.clone())].into();
        Acl { users, default, log: AclLog::default() }
    }

    /// The user of connections that have not said who they are.
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// The user of this name.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// All users in the order of their names.
    pub fn users(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.users.values()
    }

    /// Takes a new or changed user over; the one of the same name that it replaces.
    pub fn put(&mut self, user: User) -> Option<Arc<User>> {
        let user = Arc::new(user);
        if user.name == DEFAULT_USER {
            self.default = user.clone();
        }
        self.users.insert(user.name.clone(), user)
    }

    /// Removes a user; there is always one called `default`.
    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<User>> {
        if name == DEFAULT_USER { None } else { self.users.remove(name) }
    }

    /// Puts other users into the place of all; the default user, where it is not among them, as a new server has it.
    pub fn replace_all(&mut self, users: Vec<User>) {
        *self = Acl { log: std::mem::take(&mut self.log), ..Acl::with(User::default_user()) };
        for user in users {
            self.put(user);
        }
    }

    /// What `requirepass` stands for: the only password of the default user, or (empty) that it needs none.
    pub fn set_default_password(&mut self, password: &str) -> Option<Arc<User>> {
        self.put(self.default.with_only_password(password.as_bytes()))
    }

    /// The user, if the password is right and the user enabled.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<&Arc<User>> {
        self.find(name).filter(|user| user.accepts(password))
    }
}

/// Whether new users and selectors may use all channels (`acl-pubsub-default`).
pub fn opens_channels(config: &Config) -> bool {
    config.acl_pubsub_default == PubsubDefault::Allchannels
}
