use std::net::Ipv4Addr;

use tokio::time::{advance, timeout};

use super::*;

const LIMITS: Limits = Limits { places: 64, per_peer: 48, stalled_per_peer: 4, waiting: 0 };

/// Nobody lost its place.
const NONE: [usize; 0] = [];

fn peer(number: u8) -> Peer {
    Peer::at(Ipv4Addr::new(192, 0, 2, number).into())
}

/// The next place.
async fn take(places: &Arc<Places>, peer: Peer) -> Place {
    loop {
        match places.take(peer) {
            Ok(place) => return place,
            Err(_) => places.changed().await,
        }
    }
}

/// So many, one after the other.
async fn taken(places: &Arc<Places>, peer: Peer, count: usize) -> Vec<Place> {
    let mut all = Vec::new();
    for _ in 0..count {
        advance(Duration::from_millis(1)).await;
        let place = take(places, peer).await;
        place.progress().nothing_to_read();
        all.push(place);
    }
    all
}

async fn busy(places: &Arc<Places>, peer: Peer, count: usize) -> Vec<Place> {
    let all = taken(places, peer, count).await;
    all.iter().for_each(|place| place.progress().request_in_hand());
    all
}

/// Which of them had their place taken.
async fn lost(all: &[Place]) -> Vec<usize> {
    let mut lost = Vec::new();
    for (index, place) in all.iter().enumerate() {
        if timeout(Duration::ZERO, place.lost()).await.is_ok() {
            lost.push(index);
        }
    }
    lost
}

#[test]
fn an_ipv6_network_is_one_peer_and_so_is_an_ipv4_address() {
    let peer = |address: &str| Peer::at(address.parse().unwrap());
    assert_eq!(peer("2001:db8:0:1::1"), peer("2001:db8:0:1:ffff::2"));
    assert_ne!(peer("2001:db8:0:1::1"), peer("2001:db8:0:2::1"));
    assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
    assert_ne!(peer("::ffff:192.0.2.1"), peer("::ffff:192.0.2.2"));
}

#[tokio::test(start_paused = true)]
async fn a_peer_with_all_its_places_loses_the_one_that_waits_longest() {
    let places = Places::new(LIMITS);
    let crowd = taken(&places, peer(1), LIMITS.per_peer + 5).await;
    assert_eq!(lost(&crowd).await, [0, 1, 2, 3, 4]);
    let others = taken(&places, peer(2), LIMITS.places - LIMITS.per_peer).await;
    assert_eq!(lost(&others).await, NONE);
}

#[tokio::test(start_paused = true)]
async fn a_request_in_hand_is_never_closed() {
    let places = Places::new(LIMITS);
    let requests = busy(&places, peer(1), LIMITS.per_peer).await;
    advance(STALLED * 10).await;
    places.close_stalled();
    // A further connection of the same peer finds none of the peer's own to replace.
    assert_eq!(places.take(peer(1)).err(), Some(Full::Peer));
    let mut others = taken(&places, peer(2), LIMITS.places - LIMITS.per_peer).await;
    // All places are taken: a new connection replaces one that waits, of any peer.
    others.extend(taken(&places, peer(3), 1).await);
    assert_eq!((lost(&requests).await, lost(&others).await), (vec![], vec![0]));
}

#[tokio::test(start_paused = true)]
async fn the_next_waits_while_all_have_requests_in_hand() {
    let places = Places::new(LIMITS);
    let mut requests = busy(&places, peer(1), LIMITS.per_peer).await;
    requests.extend(busy(&places, peer(2), LIMITS.places - LIMITS.per_peer).await);
    let mut next = Box::pin(take(&places, peer(3)));
    assert!(timeout(Duration::from_secs(60), &mut next).await.is_err());
    requests[3].progress().answered();
    // The next request may have arrived: until somebody has looked, the connection does not wait.
    assert!(timeout(Duration::from_secs(60), &mut next).await.is_err());
    requests[3].progress().nothing_to_read();
    next.await;
    assert_eq!(lost(&requests).await, [3]);
}

#[tokio::test(start_paused = true)]
async fn the_peer_with_the_most_that_wait_makes_room_for_others() {
    let places = Places::new(LIMITS);
    let few = taken(&places, peer(1), 20).await;
    let many = taken(&places, peer(2), 44).await;
    let newcomers = taken(&places, peer(3), 5).await;
    assert_eq!(lost(&few).await, NONE, "though they wait longer");
    assert_eq!(lost(&many).await, [0, 1, 2, 3, 4]);
    assert_eq!(lost(&newcomers).await, NONE);
}

#[tokio::test(start_paused = true)]
async fn a_peer_keeps_few_connections_that_wait_over_two_seconds() {
    let places = Places::new(LIMITS);
    let waiting = taken(&places, peer(1), 7).await;
    let requests = busy(&places, peer(1), 2).await;
    let others = taken(&places, peer(2), LIMITS.stalled_per_peer).await;
    places.close_stalled();
    assert_eq!(lost(&waiting).await, NONE, "not before two seconds are over");
    advance(STALLED).await;
    // A connection that was answered waits again from then on.
    waiting[1].progress().request_in_hand();
    waiting[1].progress().answered();
    waiting[1].progress().nothing_to_read();
    places.close_stalled();
    assert_eq!(lost(&waiting).await, [0, 2]);
    assert_eq!((lost(&requests).await, lost(&others).await), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_an_unread_answer_counts_as_waiting() {
    let places = Places::new(LIMITS);
    let requests = busy(&places, peer(1), LIMITS.per_peer).await;
    requests[7].progress().unread();
    requests[9].progress().unread();
    requests[9].progress().read();
    let next = take(&places, peer(1)).await;
    assert_eq!(lost(&requests).await, [7]);
    next.progress().request_in_hand();
    assert_eq!(places.take(peer(1)).err(), Some(Full::Peer));
    assert_eq!(lost(&requests).await, NONE);
}

/// Their tasks need a moment, and a client could have any number of them.
#[tokio::test(start_paused = true)]
async fn connections_that_lost_their_places_and_have_not_ended_count_for_their_peer() {
    let places = Places::new(LIMITS);
    let crowd = taken(&places, peer(1), open(LIMITS.per_peer)).await;
    advance(STALLED).await;
    assert_eq!(places.take(peer(1)).err(), Some(Full::Peer));
    let mut others = taken(&places, peer(2), open(LIMITS.places) - open(LIMITS.per_peer)).await;
    advance(STALLED).await;
    assert_eq!(places.take(peer(2)).err(), Some(Full::All));
    drop(crowd);
    others.push(places.take(peer(2)).unwrap());
    others.push(places.take(peer(1)).unwrap());
    assert_eq!(lost(&others).await, NONE);
}

#[tokio::test(start_paused = true)]
async fn places_for_one_peer_are_all_its_own() {
    let places = Places::new(Limits::alone(4));
    let requests = busy(&places, Peer::Local, 4).await;
    let mut next = Box::pin(take(&places, Peer::Local));
    assert!(timeout(Duration::from_secs(60), &mut next).await.is_err(), "it waits, and is not turned away");
    drop(requests);
    next.await;
}

/// The system may already hold its request: connections are accepted faster than they are read.
#[tokio::test(start_paused = true)]
async fn a_connection_keeps_its_place_until_it_has_waited_a_moment() {
    let places = Places::new(LIMITS);
    let mut crowd = Vec::new();
    for _ in 0..LIMITS.per_peer {
        crowd.push(take(&places, peer(1)).await);
    }
    let mut next = Box::pin(take(&places, peer(1)));
    assert!(timeout(STALLED * 10, &mut next).await.is_err(), "it is not turned away either");
    let begin = Instant::now();
    crowd[5].progress().nothing_to_read();
    next.await;
    assert!((GRACE..GRACE * 3).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    assert_eq!(lost(&crowd).await, [5]);
}

/// A relay keeps connections for its guests' next requests, and cannot know that one is being closed.
#[tokio::test(start_paused = true)]
async fn a_connection_just_answered_goes_after_all_that_owe_requests() {
    let places = Places::new(LIMITS);
    let relay = busy(&places, peer(1), 40).await;
    for place in &relay {
        place.progress().answered();
        place.progress().nothing_to_read();
    }
    let others = taken(&places, peer(2), 6).await;
    let mut newcomers = busy(&places, peer(3), 18).await;
    for _ in 0..6 {
        newcomers.extend(busy(&places, peer(3), 1).await);
    }
    assert_eq!((lost(&relay).await, lost(&others).await.len()), (vec![], 6), "though the first has more");
    // A connection that has begun another request owes the rest of it.
    relay[4].progress().something_to_read();
    newcomers.extend(busy(&places, peer(3), 1).await);
    assert_eq!(lost(&relay).await, [4]);
    // Where there is nothing else, it goes.
    newcomers.extend(busy(&places, peer(3), 1).await);
    assert_eq!((lost(&relay).await, lost(&newcomers).await), (vec![0], vec![]));
}
