//! Places and waiting room together.

use std::net::TcpListener;

use super::*;

fn with_places(places: usize) -> Arc<Slots> {
    let slots = Slots::new(2);
    (0..places).for_each(|_| slots.add_place());
    slots
}

/// Somebody comes; his end of the connection.
fn visitor(slots: &Slots) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, address) = listener.accept().unwrap();
    slots.offer(stream, address.ip());
    client
}

#[test]
fn a_newcomer_gets_the_place_of_somebody_who_never_asks() {
    let slots = with_places(2);
    let ushered = Arc::clone(&slots);
    let usher = thread::spawn(move || ushered.usher());
    let connect = || visitor(&slots);
    let (_silent, _busy) = (connect(), connect());
    let (first, second) = (slots.take().unwrap(), slots.take().unwrap());
    second.has_asked();
    let leaving = thread::spawn(move || {
        let mut byte = [0];
        // Ends only because the place was needed.
        let read = std::io::Read::read(&mut first.stream(), &mut byte).unwrap();
        assert_eq!(read, 0);
        drop(first);
    });
    let (_silent, mut newcomer) = (connect(), connect());
    let request = b"GET / HTTP/1.1\r\n\r\n";
    std::io::Write::write_all(&mut newcomer, request).unwrap();
    leaving.join().unwrap();
    let third = slots.take().unwrap();
    let mut head = [0; 18];
    std::io::Read::read_exact(&mut third.stream(), &mut head).unwrap();
    assert_eq!(&head, request, "who has asked comes before who is silent");
    third.has_asked();
    slots.close();
    usher.join().unwrap();
    assert!(slots.take().is_none());
    assert!(!slots.all_left(Duration::ZERO));
    drop((second, third));
    assert!(slots.all_left(Duration::ZERO));
}

#[test]
fn a_place_that_is_given_back_ends_a_thread_that_has_nothing_to_do() {
    let slots = with_places(6);
    let idle: Vec<_> = (0..2)
        .map(|_| {
            let slots = Arc::clone(&slots);
            thread::spawn(move || slots.take().is_none())
        })
        .collect();
    assert_eq!(slots.give_back(8), 4, "the fewest are kept");
    for thread in idle {
        assert!(thread.join().unwrap(), "it was told to end");
    }
    let taking = Arc::clone(&slots);
    let another = thread::spawn(move || taking.take().is_some());
    while slots.lock().idle.is_empty() && !another.is_finished() {
        thread::sleep(Duration::from_millis(1));
    }
    let _client = visitor(&slots);
    assert!(another.join().unwrap(), "no more than those end");
}

#[test]
fn who_waits_is_served_before_a_thread_ends() {
    let slots = with_places(5);
    let _client = visitor(&slots);
    assert_eq!(slots.give_back(1), 4);
    assert!(slots.take().is_some());
    assert!(slots.take().is_none());
}
