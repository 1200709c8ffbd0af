<<<<<<< HEAD
//! The datanode binary.
=======
//! The data server.

>>>>>>> store
fn main() {}
