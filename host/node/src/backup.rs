//! A backup: a folder that holds all rows of one moment, every blob, and what components keep.
//!
//! | in the folder | what |
//! |---|---|
//! | `backup.json` | says which snapshot is whole; written last, so that without it, or before it, the one before counts |
//! | `snapshots/ID/` | the rows, the pins, a list of the blobs, and what components keep |
//! | `registry/` | the blobs, shared by all snapshots: an image layout, as in a data folder |

mod document;
mod files;
mod folder;
mod guest_files;
mod reading;
mod writing;

pub(crate) use folder::BackupFolder;
pub(crate) use reading::{remove_database, restore};
pub(crate) use writing::{BackupReport, write_backup};
