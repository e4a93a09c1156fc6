//! Behaviour of the machine in virtual time.
