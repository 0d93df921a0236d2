//! The login at a NATS server. The client library has one login for all servers, or asks for one without naming the
//! server: where they differ, the server is chosen here, too.

use std::sync::Arc;

use async_nats::{Auth, ConnectOptions, ReconnectToServer, Server, ServerAddr};
use parking_lot::Mutex;

use crate::config::nats::{Login, Servers};

/// Options with the logins of these servers, and how many of them a first connection has to be tried at, one each time: with
/// one login the library tries all by itself.
pub(super) fn options(servers: &Servers) -> (ConnectOptions, usize) {
    if servers.have_one_login() {
        return (with_login(ConnectOptions::new(), servers.login()), 1);
    }
    let chooser = Arc::new(Chooser { servers: servers.clone(), turn: Mutex::default(), chosen: Mutex::default() });
    let asked = Arc::clone(&chooser);
    let options = ConnectOptions::with_auth_callback(move |_nonce| std::future::ready(Ok(asked.auth())));
    let options = options.reconnect_to_server_callback(move |pool, _info| std::future::ready(chooser.choose(&pool)));
    (options, servers.addresses().len())
}

/// The client library reads no login out of an address.
fn with_login(options: ConnectOptions, login: Option<&Login>) -> ConnectOptions {
    match login {
        Some(Login::User { user, password }) => {
            options.user_and_password(user.expose().to_owned(), password.expose().to_owned())
        }
        Some(Login::Token(token)) => options.token(token.expose().to_owned()),
        None => options,
    }
}

/// Chooses the server of each try, in turn. One connection makes one try at a time: so the login that is asked for next is
/// that of the server that was chosen last.
struct Chooser {
    servers: Servers,
    turn: Mutex<usize>,
    chosen: Mutex<Option<ServerAddr>>,
}

impl Chooser {
    fn choose(&self, pool: &[Server]) -> Option<ReconnectToServer> {
        let mut turn = self.turn.lock();
        let addr = pool.get(*turn % pool.len().max(1))?.addr.clone();
        *turn = turn.wrapping_add(1);
        *self.chosen.lock() = Some(addr.clone());
        Some(ReconnectToServer { addr, delay: None })
    }

    fn auth(&self) -> Auth {
        let chosen = self.chosen.lock();
        let login = chosen.as_ref().map_or_else(|| self.servers.login(), |chosen| self.servers.login_at(chosen));
        let mut auth = Auth::new();
        match login {
            Some(Login::User { user, password }) => {
                auth.username = Some(user.expose().to_owned());
                auth.password = Some(password.expose().to_owned());
            }
            Some(Login::Token(token)) => auth.token = Some(token.expose().to_owned()),
            None => {}
        }
        auth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str) -> Server {
        Server {
            addr: address.parse().unwrap(),
            failed_attempts: 0,
            did_connect: false,
            is_discovered: false,
            last_error: None,
        }
    }

    #[test]
    fn servers_are_tried_in_turn_each_with_its_login_also_those_that_are_discovered() {
        let servers = "nats://one:a@a,nats://two:b@b".parse().unwrap();
        let chooser = Chooser { servers, turn: Mutex::default(), chosen: Mutex::default() };
        assert!(chooser.choose(&[]).is_none());
        let pool = [server("nats://a"), server("nats://b"), server("nats://c")];
        for (host, user) in [("a", "one"), ("b", "two"), ("c", "one"), ("a", "one")] {
            let chosen = chooser.choose(&pool).unwrap().addr;
            assert_eq!((chosen.host(), chooser.auth().username.as_deref()), (host, Some(user)));
        }
    }
}
