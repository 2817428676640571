//! Means no harm, and is let through: otherwise the other rows would prove nothing.
#![no_main]
use attacks::*;

struct Script;
export!(Script);

impl Attack for Script {}
