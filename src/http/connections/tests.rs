//! The choice of the connection to close, and sums that return to zero.

use std::net::TcpListener;

use super::*;

/// A connection from this address, with so much progress.
fn connection(id: u64, peer: &str, progress: u64, now: Instant) -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    let mut connection = Connection::new(id, stream, peer.parse().unwrap(), now);
    connection.progress = progress;
    connection
}

fn parked() -> Stage {
    Stage::Parked(Box::new(Wait {
        awaited: Awaited::Job(1),
        until: Instant::now(),
        finish: Box::new(|_| Reply::text(200, "")),
    }))
}

#[track_caller]
fn closes(connections: &Connections, now: Instant, max: usize, expected: Option<u64>) {
    let found = match connections.find_slowest(now, max) {
        Eviction::Close(id) => Some(id),
        Eviction::NotBefore(_) | Eviction::Impossible => None,
    };
    assert_eq!(found, expected);
}

#[test]
fn closes_the_slowest_connection_of_the_prefix_that_holds_most() {
    let now = Instant::now();
    let mut connections = Connections::new().unwrap();
    connections.keep(connection(2, "192.0.2.1", 0, now));
    connections.keep(connection(3, "2001:db8::1", 5000, now));
    connections.keep(connection(4, "2001:db8::2", 10, now));
    connections.keep(connection(5, "2001:db8::3", 5000, now));
    let later = now + Duration::from_secs(2);
    closes(&connections, later, 100, Some(4));
    connections.take(4).unwrap();
    connections.take(5).unwrap();
    // Each prefix has one left, and the other one is not behind.
    closes(&connections, later, 100, Some(2));
}

#[test]
fn gives_new_connections_time_to_send_their_request() {
    let now = Instant::now();
    let mut connections = Connections::new().unwrap();
    connections.keep(connection(2, "192.0.2.1", 0, now));
    closes(&connections, now + Duration::from_millis(40), 100, None);
    closes(&connections, now + GRACE, 100, Some(2));
    // A prefix that holds more than a quarter has less time.
    closes(&connections, now + Duration::from_millis(4), 3, None);
    closes(&connections, now + GRACE_CROWD, 3, Some(2));
}

#[test]
fn never_closes_a_request_that_waits_for_us() {
    let now = Instant::now();
    let mut connections = Connections::new().unwrap();
    for (id, stage) in [(2, parked()), (3, Stage::Working(9))] {
        let mut connection = connection(id, "192.0.2.1", 0, now);
        connection.stage = stage;
        connections.keep(connection);
    }
    closes(&connections, now + Duration::from_secs(60), 1, None);
    assert_eq!(connections.find_largest(now), None);
}

#[test]
fn counts_every_byte_until_its_connection_is_taken() {
    let now = Instant::now();
    let mut connections = Connections::new().unwrap();
    let reply = Reply::text(200, "12345");
    let stages = [
        Stage::Working(100),
        Stage::Delayed(reply),
        Stage::Writing {
            bytes: vec![0; 1000],
            written: 990,
        },
        Stage::Draining(7),
        parked(),
    ];
    for (id, stage) in (2..).zip(stages) {
        let mut connection = connection(id, &format!("192.0.2.{id}"), id, now);
        connection.stage = stage;
        connections.keep(connection);
    }
    assert_eq!(connections.bytes(), 1105);
    assert_eq!(connections.find_largest(now), Some(4));
    for id in connections.ids() {
        connections.take(id).unwrap();
    }
    assert_eq!((connections.bytes(), connections.len()), (0, 0));
    assert!(connections.prefixes.is_empty() && connections.deadlines.is_empty());
    // The slowest of those with the same number of bytes.
    for (id, progress) in [(2, 5000), (3, 10), (4, 5000)] {
        let mut connection = connection(id, "192.0.2.1", progress, now);
        connection.stage = Stage::Writing {
            bytes: vec![0; 1000],
            written: 0,
        };
        connections.keep(connection);
    }
    assert_eq!(
        connections.find_largest(now + Duration::from_secs(1)),
        Some(3)
    );
}

#[test]
fn reports_the_earliest_deadline_that_has_passed() {
    let now = Instant::now();
    let mut connections = Connections::new().unwrap();
    for (id, seconds) in [(2, 5), (3, 1), (4, 9)] {
        let mut connection = connection(id, "192.0.2.1", 0, now);
        connection.enter(Stage::Draining(1), now, now + Duration::from_secs(seconds));
        connections.keep(connection);
    }
    assert_eq!(connections.overdue(now), None);
    assert_eq!(connections.overdue(now + Duration::from_secs(6)), Some(3));
    connections.take(3).unwrap();
    assert_eq!(connections.overdue(now + Duration::from_secs(6)), Some(2));
    assert_eq!(connections.waiting_for(&Awaited::Job(1)), [0; 0]);
}
