use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use s3vault_core::Code;
use tokio::time::{Instant, timeout};

use super::*;
use crate::transport::frames::{FRAME, Size};

const MIB: u64 = 1 << 20;

/// Longer than anything takes; time is paused, so nobody waits for it.
const FOREVER: Duration = Duration::from_secs(1_000_000);

fn frames(pool: &Pool) -> u64 {
    pool.figures().0 / FRAME as u64
}

#[tokio::test]
async fn returned_frames_are_kept_while_transfers_run() {
    let pool = Pool::new(64 * MIB);
    let mut out = Vec::new();
    for _ in 0..200 {
        out.push(pool.take().await);
    }
    out.truncate(80);
    assert_eq!((pool.in_use(), pool.kept()), (80, 120));
    let account = pool.account(MIB);
    out.truncate(20);
    assert_eq!((pool.in_use(), pool.kept()), (20, 180), "a transfer that keeps its parts in memory needs them again");
    drop(account);
    assert_eq!((pool.in_use(), pool.kept()), (20, 84), "few more than are in use");
    out.clear();
    assert_eq!((pool.in_use(), pool.kept()), (0, 64));
    pool.set_limit(4 * MIB);
    assert_eq!(pool.kept(), 16, "kept frames count against the limit");
}

#[tokio::test]
async fn frames_beyond_a_lowered_limit_are_freed() {
    let bytes = |frames: u64| frames * FRAME as u64;
    let pool = Pool::new(bytes(64));
    let mut out = Vec::new();
    for _ in 0..64 {
        out.push(pool.take().await);
    }
    pool.set_limit(bytes(16));
    out.clear();
    assert_eq!(pool.kept(), 16, "those that are returned later too");
}

#[tokio::test]
async fn free_frames_are_kept_until_others_need_their_memory() {
    let bytes = |frames: u64| frames * FRAME as u64;
    let pool = Pool::new(bytes(16));
    drop([pool.take().await, pool.take().await, pool.take().await, pool.take().await]);
    let account = pool.account(bytes(12));
    let mut grant = account.ask(bytes(12)).unwrap().await.unwrap();
    assert_eq!((frames(&pool), pool.kept()), (12, 4), "what is promised takes no memory yet");
    let segments: Vec<_> = (0..3).map(|_| grant.take(Size::Segment).unwrap()).collect();
    assert_eq!((pool.in_use(), pool.kept()), (12, 4), "all of the limit is in use");
    let mut reply = pool.collected();
    reply.add(FRAME);
    assert_eq!(pool.kept(), 3, "a reply takes the memory of a free frame");
    drop((segments, grant, account));
    assert_eq!((pool.in_use(), pool.kept()), (0, 15));
    let segments = taken_segments(&pool, 3).await;
    assert_eq!((pool.in_use(), pool.kept()), (12, 3), "free segments are used again");
    drop((segments, reply));
    let frames: Vec<_> = (0..8).map(|_| pool.try_take().unwrap()).collect();
    assert_eq!((frames.len(), pool.in_use(), pool.kept()), (8, 8, 8), "frames take the place of segments");
}

/// A large transfer is not passed over for as long as small ones come.
#[tokio::test(start_paused = true)]
async fn accounts_get_their_base_in_the_order_in_which_they_came() {
    let pool = Pool::new(32 * MIB);
    let first = pool.account(16 * MIB);
    let held = first.ask(16 * MIB).unwrap().await.unwrap();
    let (large, small) = (pool.account(24 * MIB), pool.account(4 * MIB));
    let (mut large_waits, mut small_waits) = (large.ask(24 * MIB).unwrap(), small.ask(4 * MIB).unwrap());
    assert!(large_waits.try_recv().is_err() && small_waits.try_recv().is_err(), "12 MiB are free");
    drop((held, first));
    assert!(large_waits.try_recv().is_ok() && small_waits.try_recv().is_ok());
}

/// Accounts may use 28 MiB of 32. Part by part: what one transfer returns is another's, unless somebody waits for a base.
#[tokio::test(start_paused = true)]
async fn a_grant_beyond_its_base_waits_for_memory_that_others_return() {
    let pool = Pool::new(32 * MIB);
    let (first, second) = (pool.account(8 * MIB), pool.account(16 * MIB));
    let held = (first.ask(8 * MIB).unwrap().await.unwrap(), second.ask(16 * MIB).unwrap().await.unwrap());
    let mut more = first.ask(8 * MIB).unwrap();
    assert!(more.try_recv().is_err(), "4 MiB are free");
    drop((held.1, second));
    let more = more.try_recv().unwrap();
    // Who waits for a base comes before any other grant.
    let third = pool.account(20 * MIB);
    let mut base = third.ask(20 * MIB).unwrap();
    let mut again = first.ask(8 * MIB).unwrap();
    assert!(base.try_recv().is_err() && again.try_recv().is_err(), "12 MiB are free");
    drop(more);
    assert!(base.try_recv().is_ok() && again.try_recv().is_err());
    drop(held.0);
    assert!(again.try_recv().is_ok(), "its own base is free again");
}

#[tokio::test(start_paused = true)]
async fn frames_of_a_base_belong_to_the_grants_that_wait_and_the_first_is_served_first() {
    let pool = Pool::new(32 * MIB);
    let (first, second) = (pool.account(8 * MIB), pool.account(20 * MIB));
    let mut grant = first.ask(4 * MIB).unwrap().await.unwrap();
    let _all = second.ask(20 * MIB).unwrap().await.unwrap();
    let mut waits = first.ask(8 * MIB).unwrap();
    let taken: Vec<_> = std::iter::from_fn(|| grant.take(Size::Plain)).collect();
    assert_eq!(taken.len(), 16, "4 MiB of the base are left, and a grant waits for them");
    let mut urgent = first.ask_first(4 * MIB).unwrap();
    assert!(waits.try_recv().is_err() && urgent.try_recv().is_ok());
    drop(taken);
    assert!(waits.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn frames_are_taken_in_the_order_in_which_they_were_asked_for() {
    let pool = Pool::new(FRAME as u64);
    let held = pool.take().await;
    let order: Arc<Mutex<Vec<u32>>> = Arc::default();
    let mut tasks = Vec::new();
    for number in 0..4 {
        let (pool, order) = (pool.clone(), order.clone());
        tasks.push(tokio::spawn(async move {
            let _frame = pool.take().await;
            order.lock().unwrap().push(number);
        }));
        tokio::task::yield_now().await;
    }
    assert!(pool.try_take().is_none());
    drop(held);
    for task in tasks {
        timeout(FOREVER, task).await.unwrap().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_transfers_stay_within_the_memory_limit_and_all_end() {
    let pool = Pool::new(64 * MIB);
    let done: Arc<AtomicUsize> = Arc::default();
    let tasks: Vec<_> = (0..1000_u64)
        .map(|number| {
            let (pool, done) = (pool.clone(), done.clone());
            tokio::spawn(async move {
                if number % 2 == 0 {
                    // A stream with parts in progress while the next is filled.
                    let account = pool.account(8 * MIB);
                    let mut sent = VecDeque::new();
                    for _ in 0..3 {
                        let mut grant = account.ask(8 * MIB).unwrap().await.unwrap();
                        let mut part: Vec<_> = (0..32).map(|_| grant.take(Size::Plain).unwrap()).collect();
                        part.extend((0..number % 5).filter_map(|_| grant.take(Size::Plain)));
                        sent.push_back(tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_millis(number % 7)).await;
                            drop(part);
                        }));
                    }
                    for sent in sent {
                        sent.await.unwrap();
                    }
                } else {
                    for _ in 0..5 {
                        let frame = pool.take().await;
                        tokio::time::sleep(Duration::from_millis(number % 3)).await;
                        drop(frame);
                    }
                }
                done.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    for task in tasks {
        timeout(FOREVER, task).await.expect("a transfer waits forever").unwrap();
    }
    assert_eq!(done.load(Ordering::Relaxed), 1000);
    let (held, peak, limit) = pool.figures();
    assert!(held == 0 && peak <= limit && peak > limit / 2, "held {held}, peak {peak}");
}

#[tokio::test(start_paused = true)]
async fn a_lowered_memory_limit_takes_effect_as_frames_are_returned_and_a_raised_one_at_once() {
    let pool = Pool::new(32 * FRAME as u64);
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(pool.take().await);
    }
    pool.set_limit(16 * FRAME as u64);
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { pool.take().await }
    });
    held.truncate(16);
    tokio::task::yield_now().await;
    assert!(!waits.is_finished(), "the limit is used up");
    assert_eq!(frames(&pool), 16);
    pool.set_limit(17 * FRAME as u64);
    drop(timeout(FOREVER, waits).await.unwrap().unwrap());
    assert_eq!(frames(&pool), 16);
}

#[tokio::test(start_paused = true)]
async fn a_large_reply_counts_and_payload_waits_for_it() {
    let pool = Pool::new(16 * FRAME as u64);
    let account = pool.account(14 * FRAME as u64);
    let mut grant = account.ask(14 * FRAME as u64).unwrap().await.unwrap();
    let part: Vec<_> = (0..14).map(|_| grant.take(Size::Plain).unwrap()).collect();
    let mut reply = pool.collected();
    reply.add(FRAME - 1);
    assert_eq!(frames(&pool), 14, "small replies do not count");
    reply.add(1);
    reply.add(3 * FRAME + 5);
    assert_eq!(frames(&pool), 18, "a reply does not wait for the transfer that needs it");
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { pool.take().await }
    });
    drop((part, grant));
    tokio::task::yield_now().await;
    assert!(!waits.is_finished(), "the base of the account and the reply use up the limit");
    drop(reply);
    drop(timeout(FOREVER, waits).await.expect("the reply is gone").unwrap());
    drop(account);
    let (held, peak, _) = pool.figures();
    assert_eq!((held, peak), (0, 18 * FRAME as u64));
}

#[tokio::test(start_paused = true)]
async fn while_an_account_waits_for_its_base_others_get_no_extra_frames() {
    let pool = Pool::new(32 * MIB);
    let accounts: Vec<_> = (0..3).map(|_| pool.account(8 * MIB)).collect();
    let mut first = accounts[0].ask(8 * MIB).unwrap().await.unwrap();
    let mut part: Vec<_> = (0..32).map(|_| first.take(Size::Plain).unwrap()).collect();
    part.push(first.take(Size::Plain).expect("memory is free, and nobody waits"));
    part.pop();
    let fourth = pool.account(8 * MIB);
    let mut waits = fourth.ask(8 * MIB).unwrap();
    assert!(waits.try_recv().is_err(), "accounts may use 28 MiB, and three have 8 each");
    assert!(first.take(Size::Plain).is_none(), "4 MiB are free, and somebody waits for them");
    // A connection still gets its frame.
    drop(timeout(FOREVER, pool.take()).await.unwrap());
    // Nobody waits for a base any more: extra frames are available again.
    drop((waits, fourth));
    assert!(first.take(Size::Plain).is_some());
    let waits = pool.account(8 * MIB);
    let granted = waits.ask(8 * MIB).unwrap();
    drop((part, first, accounts));
    drop(timeout(FOREVER, granted).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_grant_larger_than_the_memory_is_refused() {
    let pool = Pool::new(32 * MIB);
    let error = pool.account(8 * MIB).ask(64 * MIB).err().unwrap();
    assert_eq!(error.code(), Code::InvalidOption);
    assert!(error.to_string().contains("memory"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn transfers_take_turns_for_connections_and_metadata_goes_first() {
    let connections = Connections::new(1);
    let held = connections.take(0, Urgency::Payload).await;
    let order: Arc<Mutex<Vec<(u64, Urgency)>>> = Arc::default();
    let mut tasks = Vec::new();
    let wanted = [(1, Urgency::Payload), (1, Urgency::Payload), (1, Urgency::Payload), (1, Urgency::First)];
    for (transfer, urgency) in wanted.into_iter().chain([(2, Urgency::Payload), (3, Urgency::Payload)]) {
        let (connections, order) = (connections.clone(), order.clone());
        tasks.push(tokio::spawn(async move {
            let _permit = connections.take(transfer, urgency).await;
            order.lock().unwrap().push((transfer, urgency));
        }));
        tokio::task::yield_now().await;
    }
    drop(held);
    for task in tasks {
        timeout(FOREVER, task).await.unwrap().unwrap();
    }
    let payload = |transfer| (transfer, Urgency::Payload);
    let rest = [payload(2), payload(3), payload(1), payload(1), payload(1)];
    assert_eq!(order.lock().unwrap()[0], (1, Urgency::First));
    assert_eq!(order.lock().unwrap()[1..], rest);
    assert_eq!(connections.figures(), (0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_limit_applies_to_waiting_requests() {
    let connections = Connections::new(1);
    let held = connections.take(0, Urgency::First).await;
    let abandoned = timeout(Duration::from_secs(1), connections.take(1, Urgency::First)).await;
    assert!(abandoned.is_err());
    connections.set_limit(2);
    let other = timeout(FOREVER, connections.take(2, Urgency::First)).await.unwrap();
    drop((held, other));
    assert_eq!(connections.figures(), (0, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn bandwidth_is_limited_and_can_be_changed_while_bodies_wait() {
    let way = Bandwidth::new(MIB);
    let started = Instant::now();
    let bodies: Vec<_> = (0..4)
        .map(|_| {
            let way = way.clone();
            tokio::spawn(async move {
                for _ in 0..64 {
                    way.pass(64 * 1024).await;
                }
            })
        })
        .collect();
    for body in bodies {
        body.await.unwrap();
    }
    // Time is paused: this is counted, not measured.
    let took = started.elapsed().as_secs_f64();
    assert!((15.0..17.0).contains(&took), "16 MiB at 1 MiB/s: {took}");

    let waits = tokio::spawn({
        let way = way.clone();
        async move {
            way.pass(1000 * MIB).await;
            way.pass(1).await;
        }
    });
    tokio::task::yield_now().await;
    way.set_rate(0);
    let changed = Instant::now();
    waits.await.unwrap();
    assert!(changed.elapsed() < Duration::from_secs(1), "no limit, no wait");
}

/// Time is paused here: it is counted, not measured.
#[tokio::test(start_paused = true)]
async fn what_was_not_used_may_follow_for_a_tenth_of_a_second_at_most() {
    let way = Bandwidth::new(MIB);
    way.pass(1).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let started = Instant::now();
    for _ in 0..64 {
        way.pass(64 * 1024).await;
    }
    let took = started.elapsed().as_secs_f64();
    // The last slice is owed, and a tenth of a second was free.
    assert!((3.83..3.85).contains(&took), "4 MiB at 1 MiB/s after a pause: {took}");
}

#[tokio::test(start_paused = true)]
async fn a_new_rate_applies_to_what_has_not_passed_yet() {
    let way = Bandwidth::new(MIB);
    let wait = |bytes: u64| {
        let way = way.clone();
        tokio::spawn(async move {
            let started = Instant::now();
            way.pass(bytes).await;
            started.elapsed().as_secs_f64()
        })
    };
    way.pass(10 * MIB).await;
    let waits = wait(1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    way.set_rate(5 * MIB);
    let took = waits.await.unwrap();
    assert!((5.9..6.1).contains(&took), "half at 1 MiB/s, half at 5: {took}");
    // Nothing is owed from before there was no limit.
    way.pass(1000 * MIB).await;
    way.set_rate(0);
    way.set_rate(MIB);
    let took = wait(1).await.unwrap();
    assert!(took < 1.0, "{took}");
}

#[test]
fn limits_of_the_process_are_set_and_other_options_are_refused() {
    let budget = Budget::new(&Settings::new());
    budget.set("memory", "67108864").unwrap();
    budget.set("connections", "3").unwrap();
    let stats = budget.stats();
    assert_eq!((stats.memory_limit, stats.connections_limit), (64 * MIB, 3));
    budget.set("memory", "").unwrap();
    assert_eq!(budget.stats().memory_limit, 256 * MIB);
    let unknown = budget.set("memry", "1").unwrap_err();
    assert_eq!(unknown.code(), Code::UnknownOption);
    assert!(unknown.hint().contains("memory"), "{}", unknown.hint());
    for (key, value) in [("bucket", "b"), ("bucket", ""), ("memory", "1")] {
        assert_eq!(budget.set(key, value).unwrap_err().code(), Code::InvalidOption, "{key} = '{value}'");
    }
    let one = budget.start();
    assert_eq!(budget.stats().transfers, 1);
    drop(one);
    assert_eq!(budget.stats().transfers, 0);
}

#[tokio::test]
async fn segments_for_files_leave_frames_for_connections_and_accounts_leave_segments_for_files() {
    // 128 frames: accounts hold 112 of them at most, segments may be taken up to 120.
    let pool = Pool::new(32 << 20);
    let account = pool.account(28 << 20);
    let grant = account.ask(28 << 20).unwrap().await.unwrap();
    let segments = [pool.take_segment().await, pool.take_segment().await];
    let third = timeout(Duration::from_millis(50), pool.take_segment()).await;
    assert!(third.is_err(), "a third segment would take the frames of connections");
    let frames: Vec<_> = (0..8).map(|_| pool.try_take()).collect();
    assert!(frames.iter().all(Option::is_some), "connections have frames");
    assert!(pool.try_take().is_none());
    drop((frames, segments, grant));
    drop(account);
    assert_eq!((pool.in_use(), pool.figures().0), (0, 0));
    // Without accounts, segments are taken up to the same limit.
    let segments: Vec<_> = taken_segments(&pool, 30).await;
    assert_eq!((segments.len(), pool.figures().0), (30, 30 << 20));
    drop(segments);
    assert!(pool.kept() <= 64 + 4, "few free segments are kept");
}

async fn taken_segments(pool: &Arc<Pool>, count: usize) -> Vec<crate::transport::frames::Frame> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(pool.take_segment().await);
    }
    taken
}
