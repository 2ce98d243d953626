//! Mutations that the simulator plants to see that it sees them: tests only, and `false` without the feature `planted`.

/// Whether this mutation is planted.
#[cfg(not(feature = "planted"))]
pub(crate) const fn on(_name: &str) -> bool {
    false
}

#[cfg(feature = "planted")]
mod planting {
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<&'static str> = const { Cell::new("") };
    }

    /// Plants this mutation in all machines of this thread; none where it is empty.
    pub fn plant(name: &'static str) {
        PLANTED.set(name);
    }

    pub(crate) fn on(name: &str) -> bool {
        PLANTED.get() == name
    }
}

#[cfg(feature = "planted")]
pub(crate) use planting::on;
#[cfg(feature = "planted")]
pub use planting::plant;
