//! Measurements come with the next step; nothing is measured here yet.
