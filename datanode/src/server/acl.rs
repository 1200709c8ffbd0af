//! Access control lists applied to connections: logging in, the check before a command, and what a changed user means
//! for those who are connected as it.

use std::sync::Arc;

use super::Server;
use super::client::Client;
use super::pubsub::Kind;
use crate::acl::{Context, Denied, Entry, Reason, User, file, may_use_channel};
use crate::command::{Args, Spec, client};
use crate::config::Foreign;
use crate::io::{ConnId, Io};

impl Server {
    /// New connections need not log in: the default user is enabled and has no password.
    pub(crate) fn is_open(&self) -> bool {
        let default = self.acl.default_user();
        default.is_enabled() && default.needs_no_password()
    }

    /// The client has to log in before it may do anything else.
    pub(crate) fn must_log_in(&self, client: &Client) -> bool {
        !client.authenticated && !self.is_open()
    }

    /// Lets a client in as a user if the password is right; if not, that goes into the log. `word` is the command.
    pub(crate) fn log_in(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        name: &[u8],
        password: &[u8],
        word: &[u8],
    ) -> bool {
        let Some(user) = self.acl.authenticate(name, password).cloned() else {
            self.log_denial(io, conn, self.context_of(conn), Reason::Auth, word, Some(name));
            return false;
        };
        if let Some(client) = self.clients.get_mut(conn) {
            client.authenticated = true;
            client.user = user;
        }
        true
    }

    /// Whether the client of this connection may run a command; nothing is logged. Where there is no client (our master's
    /// stream, the log at start) everything is allowed.
    #[inline]
    pub fn permitted(&self, conn: ConnId, spec: &Spec, args: Args<'_>) -> Result<(), Denied> {
        match self.clients.get(conn) {
            Some(client) if !client.user.is_unrestricted() => client.user.may_run(spec, args),
            _ => Ok(()),
        }
    }

    /// The users as lines of the configuration file; those of an ACL file stay there.
    pub(crate) fn user_lines(&self) -> Foreign<'static> {
        let users = self.acl.users().filter(|_| self.config.aclfile.is_empty());
        Foreign { option: "user", lines: users.map(|user| user.config_line()).collect() }
    }

    /// The check before a command, which the client sent or (`from_script`) its script calls: what is denied is logged.
    /// [`Denied`] has the errors.
    #[inline]
    pub fn check_permission(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        from_script: bool,
        spec: &'static Spec,
        args: Args<'_>,
    ) -> Result<(), Denied> {
        let result = self.permitted(conn, spec, args);
        if let Err(denied) = result {
            let context = if from_script { Context::Lua } else { self.context_of(conn) };
            self.log_denied(io, conn, context, spec, args, denied);
        }
        result
    }

    /// Where a command of this connection is wanted, scripts apart.
    fn context_of(&self, conn: ConnId) -> Context {
        let queueing = self.clients.get(conn).is_some_and(|c| c.multi.is_some());
        if queueing || self.in_exec { Context::Multi } else { Context::TopLevel }
    }

    #[cold]
    fn log_denied(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        context: Context,
        spec: &'static Spec,
        args: Args<'_>,
        denied: Denied,
    ) {
        let (reason, object) = match denied {
            Denied::Command => (Reason::Command, spec.name.as_bytes()),
            Denied::Key(i) => (Reason::Key, args.at(i)),
            Denied::Channel(i) => (Reason::Channel, args.at(i)),
        };
        // The log shows the client at the command that it has sent.
        let sent = context != Context::Lua && !self.in_exec;
        if let Some(client) = self.clients.get_mut(conn).filter(|_| sent) {
            client.last_command = spec.name;
        }
        self.log_denial(io, conn, context, reason, object, None);
    }

    /// `username`: where it is not the client's present one.
    fn log_denial(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        context: Context,
        reason: Reason,
        object: &[u8],
        username: Option<&[u8]>,
    ) {
        let Some(client) = self.clients.get(conn) else { return };
        let entry = Entry {
            count: 1,
            reason,
            context,
            object: object.to_vec(),
            username: username.unwrap_or(&client.user.name).to_vec(),
            at_ms: io.now.unix_ms,
            client: client::describe(client, io),
        };
        self.acl.log.add(entry, self.config.acllog_max_len);
    }

    /// Takes a new or changed user over (`ACL SETUSER`). Its subscribers whose channels it may not use any more are
    /// closed; `me` is the connection that asked, and gets its reply first.
    pub(crate) fn set_user(&mut self, io: &mut Io, user: User, me: ConnId) {
        let name = user.name.clone();
        let Some(old) = self.acl.put(user) else { return };
        let Some(new) = self.acl.find(&name).cloned() else { return };
        self.pass_on(&old, &new);
        let Some(allowed) = new.channels() else { return };
        let unlawful = |client: &&Client| {
            let all_fit = |kind| {
                let is_pattern = kind == Kind::Pattern;
                client.subscribed_to(kind).iter().all(|name| may_use_channel(&allowed, name, is_pattern))
            };
            Arc::ptr_eq(&client.user, &new)
                && ![Kind::Channel, Kind::Pattern, Kind::Shard].into_iter().all(all_fit)
        };
        let conns: Vec<ConnId> = self.clients.iter().filter(unlawful).map(|c| c.conn).collect();
        for conn in conns {
            self.close_client(io, conn, conn == me);
        }
    }

    /// What `requirepass` says now holds for the default user.
    pub(crate) fn update_default_password(&mut self) {
        if let Some(old) = self.acl.set_default_password(&self.config.requirepass) {
            let new = self.acl.default_user().clone();
            self.pass_on(&old, &new);
        }
    }

    /// Gives the clients of a user what it has become.
    fn pass_on(&mut self, old: &Arc<User>, new: &Arc<User>) {
        for client in self.clients.iter_mut().filter(|c| Arc::ptr_eq(&c.user, old)) {
            client.user = new.clone();
        }
    }

    /// Removes a user and closes its connections (`ACL DELUSER`); false if there is none.
    pub(crate) fn delete_user(&mut self, io: &mut Io, name: &[u8], me: ConnId) -> bool {
        let Some(user) = self.acl.remove(name) else { return false };
        self.close_clients_of(io, &user, me);
        true
    }

    /// Puts the users of the ACL file in the place of all (`ACL LOAD`). Connections of all but the default user are
    /// closed, as Redis 7.0 does it.
    pub(crate) fn load_users(&mut self, io: &mut Io, me: ConnId) -> Result<(), String> {
        let users = file::load(&self.config, &*self.disk)?;
        let old: Vec<Arc<User>> = self.acl.users().cloned().collect();
        let old_default = self.acl.default_user().clone();
        self.acl.replace_all(users);
        let default = self.acl.default_user().clone();
        self.pass_on(&old_default, &default);
        old.iter().for_each(|user| self.close_clients_of(io, user, me));
        Ok(())
    }

    fn close_clients_of(&mut self, io: &mut Io, user: &Arc<User>, me: ConnId) {
        let default = self.acl.default_user().clone();
        let mut conns = Vec::new();
        for client in self.clients.iter_mut().filter(|c| Arc::ptr_eq(&c.user, user)) {
            // Whatever it may still do until it is gone, it does not do as this user.
            client.user = default.clone();
            client.authenticated = false;
            conns.push(client.conn);
        }
        for conn in conns {
            self.close_client(io, conn, conn == me);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::server::testing::Bench;

    fn closed(b: &mut Bench, conn: crate::io::ConnId) -> bool {
        b.server.clients.get(conn).is_none_or(|c| c.closing)
    }

    #[test]
    fn who_takes_channels_from_itself_is_answered_and_closed() {
        let mut b = Bench::new(Config::default());
        let (admin, own) = (b.connect(), b.connect());
        b.send(admin, "ACL SETUSER u on nopass +@all ~* &c");
        assert_eq!(b.send(own, "AUTH u x"), "+OK\r\n");
        b.send(own, "HELLO 3");
        b.send(own, "SUBSCRIBE c");
        assert_eq!(b.send(own, "ACL SETUSER u &d"), "+OK\r\n");
        assert!(!closed(&mut b, own));
        assert_eq!(b.send(own, "ACL SETUSER u resetchannels\r\nACL SETUSER u +@all &*"), "+OK\r\n");
        assert!(closed(&mut b, own));
        assert!(!b.send(admin, "ACL LIST").contains("&c"));
    }

    #[test]
    fn a_deleted_user_does_nothing_more() {
        let mut b = Bench::new(Config::default());
        let (admin, own) = (b.connect(), b.connect());
        b.send(admin, "ACL SETUSER u on nopass +@all ~* &*");
        b.send(own, "AUTH u x");
        // What was sent together with it is not run, neither as this user nor as another.
        assert_eq!(b.send(own, "ACL DELUSER u\r\nSET k v"), ":1\r\n");
        assert!(closed(&mut b, own));
        assert_eq!(b.send(admin, "EXISTS k"), ":0\r\n");
    }

    #[test]
    fn a_changed_user_holds_for_those_who_are_connected() {
        let mut b = Bench::new(Config::default());
        let (admin, own) = (b.connect(), b.connect());
        b.send(admin, "ACL SETUSER u on nopass +@all ~* &*");
        b.send(own, "AUTH u x");
        assert_eq!(b.send(own, "SET k v"), "+OK\r\n");
        b.send(admin, "ACL SETUSER u -set");
        let denied = "-NOPERM this user has no permissions to run the 'set' command\r\n";
        assert_eq!(b.send(own, "SET k w"), denied);
        assert_eq!(b.send(own, "MULTI"), "+OK\r\n");
        assert_eq!(b.send(own, "SET k w"), denied);
        assert!(b.send(own, "EXEC").starts_with("-EXECABORT"));
        let log = b.send(admin, "ACL LOG");
        assert!(log.contains("multi") && log.contains("toplevel") && log.contains("user=u"), "{log}");
        b.send(admin, "ACL SETUSER u +set");
        assert_eq!(b.send(own, "SET k w"), "+OK\r\n");
    }

    #[test]
    fn a_password_file_goes_before_what_a_file_says_of_the_default_user() {
        let line = ["default", "on", ">old", "+get", "~*"].map(|w| w.as_bytes().to_vec()).to_vec();
        let mut config =
            Config { requirepass: "new".into(), password_file: "pw".into(), ..Config::default() };
        config.extra.users.push(line);
        let mut b = Bench::new(config.clone());
        let c = b.connect();
        assert!(b.send(c, "AUTH old").starts_with("-WRONGPASS"));
        assert_eq!(b.send(c, "AUTH new"), "+OK\r\n");
        assert!(b.send(c, "SET k v").starts_with("-NOPERM"));
        config.password_file.clear();
        let mut b = Bench::new(config);
        let c = b.connect();
        assert!(b.send(c, "AUTH new").starts_with("-WRONGPASS"));
        assert_eq!(b.send(c, "AUTH old"), "+OK\r\n");
    }
}
