//! Figures of persistence for INFO.
