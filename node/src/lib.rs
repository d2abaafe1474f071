//! A node of a Leasehold cluster: everything around the protocol's core that touches the world.
