//! The items of a job: each reaches the calling thread, in order, and only a bounded number waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use s3vault_core::time::Now;
use s3vault_core::{Code, Event, Input, Machine, Output};

use super::host;
use crate::control::{Control, EventKind};
use crate::driver::progress::ITEMS;
use crate::driver::run;

/// Reports its items one after the other, and counts those that were taken from it. Then it ends, or waits for a cancel.
struct Reporting {
    left: usize,
    number: usize,
    waits: bool,
    taken: Arc<AtomicUsize>,
    cancelled: Arc<AtomicBool>,
}

impl Machine for Reporting {
    type Done = ();

    fn handle(&mut self, _: Now, input: Input<'_>) {
        if let Input::Cancel = input {
            self.cancelled.store(true, Ordering::Release);
            (self.left, self.waits) = (0, false);
        }
    }

    fn poll(&mut self, _: Now) -> Output<()> {
        if self.left == 0 {
            return if self.waits { Output::Wait(None) } else { Output::Done(Ok(())) };
        }
        self.left -= 1;
        self.number += 1;
        self.taken.fetch_add(1, Ordering::AcqRel);
        Output::Event(Event::Item { json: self.number.to_string() })
    }
}

fn reporting(count: usize, waits: bool) -> (Reporting, Arc<AtomicUsize>, Arc<AtomicBool>) {
    let (taken, cancelled) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    (Reporting { left: count, number: 0, waits, taken: taken.clone(), cancelled: cancelled.clone() }, taken, cancelled)
}

#[test]
fn a_slow_callback_gets_every_item_in_order_and_few_wait_for_it() {
    let (machine, taken, _) = reporting(3 * ITEMS, false);
    let (mut told, mut most) = (0, 0);
    let mut on_event = |event: &crate::control::Event<'_>| {
        if event.kind == EventKind::Item {
            told += 1;
            assert_eq!((event.text, event.done), (Some(told.to_string().as_str()), told as u64));
            if told % ITEMS == 1 {
                std::thread::sleep(Duration::from_millis(20));
            }
            most = most.max(taken.load(Ordering::Acquire) - told);
        }
        true
    };
    run(&host(), machine, &mut Control { on_event: Some(&mut on_event), ..Control::none() }).unwrap();
    assert_eq!(told, 3 * ITEMS);
    assert!(most <= ITEMS, "{most} items waited");
}

#[test]
fn a_job_whose_caller_stops_it_while_items_wait_is_cancelled() {
    let (machine, _, cancelled) = reporting(3 * ITEMS, true);
    let mut on_event = |_: &crate::control::Event<'_>| false;
    let stopped = run(&host(), machine, &mut Control { on_event: Some(&mut on_event), ..Control::none() });
    assert_eq!(stopped.unwrap_err().code(), Code::Stopped);
    for _ in 0..200 {
        if cancelled.load(Ordering::Acquire) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the machine was not cancelled");
}
