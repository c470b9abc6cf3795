//! Packages, by the commands of a host that is part of no mesh.

mod build;
