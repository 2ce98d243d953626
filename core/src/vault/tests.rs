//! Tests of the machines, with a store that is played by hand.
