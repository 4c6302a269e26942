//! A broker that takes the connection and says no more.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

#[tokio::test]
async fn a_broker_that_never_answers_the_subscription_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let broker = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 1024];
        assert!(stream.read(&mut bytes).await.unwrap() > 0);
        stream.write_all(&[0x20, 2, 0, 0]).await.unwrap();
        while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    });
    let password = Arc::new(|| "secret".to_owned());
    let mut options = LinkOptions::new(url, "host".to_owned(), password, ServerTrust::PublicRoots);
    options.connect_timeout = Duration::from_millis(200);
    let (_handle, mut events) = Link::connect(options).unwrap();
    let event = timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap();
    let LinkEvent::Disconnected { reason, .. } = event else { panic!("{event:?}") };
    assert!(matches!(reason, LinkError::Unreachable(_)), "{reason}");
    broker.await.unwrap();
}
