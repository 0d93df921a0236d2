use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;

use super::*;
use crate::consumers::webhooks::client::{Answer, Client};

/// Hosts as a URL may have them, and whether they are public.
const HOSTS: &[(&str, bool)] = &[
    ("8.8.8.8", true),
    ("1.1.1.1", true),
    ("172.15.255.255", true),
    ("172.32.0.1", true),
    ("100.63.255.255", true),
    ("100.128.0.1", true),
    ("192.0.1.1", true),
    ("223.255.255.255", true),
    ("127.0.0.1", false),
    ("127.255.255.254", false),
    ("0.0.0.0", false),
    ("0.1.2.3", false),
    ("10.0.0.1", false),
    ("100.64.0.1", false),
    ("100.100.100.200", false),
    ("169.254.169.254", false),
    ("172.16.0.1", false),
    ("172.31.255.255", false),
    ("192.0.0.192", false),
    ("192.168.1.1", false),
    ("198.18.0.1", false),
    ("198.19.255.255", false),
    ("168.63.129.16", false),
    ("224.0.0.1", false),
    ("239.255.255.250", false),
    ("240.0.0.1", false),
    ("255.255.255.255", false),
    // Other forms of 127.0.0.1 and 169.254.169.254.
    ("2130706433", false),
    ("0x7f000001", false),
    ("0x7f.0.0.1", false),
    ("0177.0.0.1", false),
    ("017700000001", false),
    ("127.1", false),
    ("127.0.1", false),
    ("2852039166", false),
    ("0xa9fea9fe", false),
    ("0251.0376.0251.0376", false),
    ("127.0.0.1.", false),
    ("1\u{ff12}7.0.0.1", false),
    ("[::1]", false),
    ("[::]", false),
    ("[::ffff:127.0.0.1]", false),
    ("[::ffff:7f00:1]", false),
    ("[::ffff:169.254.169.254]", false),
    ("[::ffff:8.8.8.8]", true),
    ("[::127.0.0.1]", false),
    ("[64:ff9b::7f00:1]", false),
    ("[64:ff9b::8.8.8.8]", true),
    ("[64:ff9b:1::1]", false),
    ("[100::1]", false),
    ("[2001::1]", false),
    ("[2001:db8::1]", false),
    ("[2002:7f00:1::]", false),
    ("[2002:808:808::]", false),
    ("[3fff::1]", false),
    ("[fc00::1]", false),
    ("[fd00:ec2::254]", false),
    ("[fe80::1]", false),
    ("[fec0::1]", false),
    ("[ff02::1]", false),
    ("[2606:4700:4700::1111]", true),
    ("[2a00:1450:4001:81b::200e]", true),
];

#[test]
fn addresses_that_are_not_public_are_refused_in_every_form() {
    let (strict, open) = (Guard::new(false), Guard::new(true));
    for (host, public) in HOSTS {
        let url: Url = format!("https://{host}/hook").parse().unwrap_or_else(|error| panic!("{host}: {error}"));
        assert_eq!(strict.check(&url).is_ok(), *public, "{host} is {:?}", url.host());
        assert!(open.check(&url).is_ok(), "{host}");
    }
}

/// Names have these addresses, one look after the other.
fn guard(allows: fn(IpAddr) -> bool, looks: &'static [&'static str]) -> (Guard, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let look_up = move |_| {
        let turn = counted.fetch_add(1, Ordering::Relaxed).min(looks.len() - 1);
        let addresses = looks[turn].split(' ').map(|one| SocketAddr::new(one.parse().expect("an address"), 0));
        let found: Vec<_> = addresses.collect();
        async move { Ok(found) }.boxed()
    };
    (Guard { allows, allows_private: false, look_up: Arc::new(look_up) }, count)
}

async fn call(client: &Client, host: &str, port: u16) -> Answer {
    client.post(&format!("http://{host}:{port}/").parse().unwrap(), &[], "{}".into()).await
}

fn is_forbidden(answer: &Answer) -> bool {
    matches!(answer, Answer::Failed(why) if *why == Forbidden.to_string())
}

#[tokio::test]
async fn neither_an_address_that_is_not_public_nor_a_name_that_stands_for_it_is_called() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for looks in [&["127.0.0.1"], &["::1"], &["::ffff:127.0.0.1"], &["169.254.169.254"], &["10.0.0.1 127.0.0.1"]] {
        let client = Client::new(guard(is_public, looks).0, None);
        let answer = call(&client, "hook.example", port).await;
        assert!(is_forbidden(&answer), "{looks:?}: {answer:?}");
    }
    let client = Client::new(Guard::new(false), None);
    for host in HOSTS.iter().filter(|(_, public)| !public).map(|(host, _)| *host).chain(["localhost"]) {
        let answer = call(&client, host, port).await;
        assert!(is_forbidden(&answer), "{host}: {answer:?}");
    }
    assert!(listener.accept().now_or_never().is_none(), "nobody called");
}

/// An endpoint that answers every connection with 204, and closes it; counts them.
fn answering(listener: TcpListener) -> Arc<AtomicUsize> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = connection.read(&mut [0; 4096]).await;
            let _ = connection.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
        }
    });
    count
}

/// `127.0.0.2` stands for what is public here, `127.0.0.1` for what is not. Both answer.
#[tokio::test]
async fn what_a_name_is_changed_to_after_the_look_is_not_called() {
    let public = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = public.local_addr().unwrap().port();
    let private = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let (public, private) = (answering(public), answering(private));
    let allows = |address: IpAddr| address == IpAddr::from([127, 0, 0, 2]);
    let (guard, looks) = guard(allows, &["127.0.0.1 127.0.0.2", "127.0.0.1"]);
    let client = Client::new(guard, None);
    assert_eq!(call(&client, "hook.example", port).await, Answer::Taken(204), "of two addresses the public one");
    assert_eq!(looks.load(Ordering::Relaxed), 1, "what was looked at is called: there is no second look");
    let answer = call(&client, "hook.example", port).await;
    assert!(is_forbidden(&answer), "each connection has a look of its own: {answer:?}");
    assert_eq!((public.load(Ordering::Relaxed), private.load(Ordering::Relaxed)), (1, 0));
}
