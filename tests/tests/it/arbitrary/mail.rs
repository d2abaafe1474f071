//! Mail between clients.

use leasehold_core::{Address, Delivery, Parcel};
use proptest::prelude::*;
use proptest::sample::select;

use super::{bytes, node_id};

pub(super) fn address() -> impl Strategy<Value = Address> {
    (node_id(), any::<(u64, u64, u64)>()).prop_map(|(node, (boot, connection, number))| Address {
        node,
        boot,
        connection,
        number,
    })
}

pub(super) fn parcel() -> impl Strategy<Value = Parcel> {
    prop_oneof![
        bytes().prop_map(Parcel::Info),
        bytes().prop_map(Parcel::Cast),
        (address(), any::<u64>(), bytes()).prop_map(|(reply, call, body)| Parcel::Call {
            reply,
            call,
            body
        }),
        (any::<u64>(), bytes()).prop_map(|(call, body)| Parcel::Reply { call, body }),
    ]
}

pub(super) fn delivery() -> impl Strategy<Value = Delivery> {
    select(vec![
        Delivery::Taken,
        Delivery::Full,
        Delivery::Nobody,
        Delivery::Unreachable,
        Delivery::TooLarge,
        Delivery::Busy,
        Delivery::Unknown,
    ])
}
