use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;

/// A server that answers each request by what it was sent, on connections that are used once.
async fn answering(answer: impl Fn(&str) -> (u16, &'static str) + Send + 'static) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = socket.read(&mut request).await.unwrap();
            let (status, headers) = answer(&String::from_utf8_lossy(&request[..read]));
            let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n");
            let _ = socket.write_all(head.as_bytes()).await;
        }
    });
    base.parse().unwrap()
}

fn config(base_url: Url) -> Config {
    Config {
        name: "one".to_owned(),
        capability: TEXT,
        base_url,
        keys: Vec::new(),
        connect: Duration::from_secs(3),
        limits: Limits::default(),
        ca_file: None,
        observer: Arc::new(Unobserved),
    }
}

fn get(base: &Url, key: Option<&Secret>) -> Request {
    let mut request = Request::new(Method::GET, base.clone());
    if let Some(key) = key {
        request.headers_mut().insert("authorization", format!("Bearer {}", key.expose()).parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a_key_that_is_refused_or_used_up_makes_way_for_the_next() {
    for refusal in [401, 429] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let base = answering(move |request| {
            counted.fetch_add(1, Ordering::Relaxed);
            (if request.contains("Bearer good") { 200 } else { refusal }, "")
        })
        .await;
        let keys = ["bad", "good"].map(Secret::new).to_vec();
        let service = Service::build(Config { keys, ..config(base.clone()) }).unwrap();
        for expected in [2, 3] {
            let mut permit = service.try_permit().unwrap();
            let response = permit.send(|key| get(&base, key)).await.unwrap();
            assert_eq!((response.status().as_u16(), asked.load(Ordering::Relaxed)), (200, expected));
        }
        let only_bad = Service::build(Config { keys: vec![Secret::new("bad")], ..config(base.clone()) }).unwrap();
        let response = only_bad.try_permit().unwrap().send(|key| get(&base, key)).await.unwrap();
        assert_eq!(response.status().as_u16(), refusal, "there is no other key");
    }
}

#[tokio::test]
async fn overload_pauses_a_service_and_halves_its_limit() {
    let base = answering(|_| (429, "retry-after: 7\r\n")).await;
    let service = Service::build(config(base.clone())).unwrap();
    let held: Vec<_> = (0..31).map(|_| service.try_permit().unwrap()).collect();
    for limit in [1000, 16] {
        let mut permit = service.try_permit().unwrap();
        let response = permit.send(|key| get(&base, key)).await.unwrap();
        let after = Permit::retry_after(&response);
        assert_eq!(after, Some(Duration::from_secs(7)));
        permit.failed(&Fault::of_status(429, after));
        assert_eq!(service.status().traffic.limit, limit, "one refusal alone may be chance");
    }
    drop(held);
    assert_eq!(service.standing(), Standing::Paused);
    let status = service.status();
    assert_eq!((status.breaker, status.traffic.in_flight), (Phase::Closed, 0));
    assert!((16..20).contains(&status.traffic.limit), "{status:?}");
    assert_eq!(status.last_error.unwrap().cause, "it answered 429");
}

#[tokio::test]
async fn a_service_that_is_away_is_found_out_by_a_check_and_tried_again_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base: Url = format!("http://{}/v1", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let service = Service::build(config(base)).unwrap();
    let works = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop = CancellationToken::new();
    let watching = tokio::spawn({
        let (service, works, stop) = (service.clone(), Arc::clone(&works), stop.clone());
        async move {
            let probe = || {
                let works = works.load(Ordering::Relaxed);
                async move { if works { Ok(()) } else { Err(Fault::unavailable("connection refused")) } }
            };
            service.watch(stop, probe).await;
        }
    });
    while service.phase() != Phase::Open {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(service.standing(), Standing::Away);
    let status = service.status();
    assert!(status.reason.contains("connection refused"), "{status:?}");
    assert!(!status.last_error.unwrap().is_over);
    works.store(true, Ordering::Relaxed);
    while service.standing() != Standing::Ready {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut trial = service.try_permit().unwrap();
    assert_eq!(service.standing(), Standing::Open, "one request tries it");
    trial.spoke();
    assert_eq!((service.standing(), service.phase()), (Standing::Ready, Phase::Closed));
    stop.cancel();
    watching.await.unwrap();
}

#[tokio::test]
async fn a_service_that_speaks_is_not_given_up_for_a_check_that_fails() {
    let service = Service::build(config("http://127.0.0.1:9/v1".parse().unwrap())).unwrap();
    let permit = service.try_permit().unwrap();
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_millis(5)).await;
    permit.heard();
    service.check_failed(&Fault::unavailable("busy"), begun, Instant::now());
    assert_eq!(service.phase(), Phase::Closed);
    service.check_failed(&Fault::unavailable("busy"), Instant::now() + Duration::from_millis(2), Instant::now());
    assert_eq!(service.phase(), Phase::Open);
}

#[test]
fn certificates_that_cannot_be_used_are_told_with_their_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let build = || {
        let base = "https://127.0.0.1:9/v1".parse().unwrap();
        Service::build(Config { ca_file: Some(path.clone()), ..config(base) }).unwrap_err().to_string()
    };
    assert!(build().contains("ca.pem"));
    std::fs::write(&path, "nothing").unwrap();
    assert!(build().contains("there is none in it"), "{}", build());
}

#[test]
fn an_address_is_shown_without_secrets() {
    let url = "https://me:pw@api.example.com/v1?key=secret".parse().unwrap();
    assert_eq!(shown(&url), "https://api.example.com/v1");
}
