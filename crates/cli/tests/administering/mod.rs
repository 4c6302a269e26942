//! What is administered inside of a network, against the double: clients and their keys, policies, nodes, names.

mod clients;
mod members;
mod policies;
