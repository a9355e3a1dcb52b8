//! Durable stores for kiops: [`SqliteStore`] keeps everything in one SQLite file, [`LogFiles`] keeps the logs of builds.
//!
//! What is secret is sealed before it is written ([`Sealer`]), with a key from `KIOPS_SECRET_KEY` or from a key file that is
//! made at first start ([`keys_from_env_or_file`]). Every file that this crate makes has mode 0600, every folder 0700.

mod keys;
mod log;
mod private;
mod seal;
mod secrets;
mod sqlite;

pub use keys::{FileKey, KEY_VARIABLE, keys_from_env_or_file, parse_key};
pub use log::{LogFiles, LogFilesConfig};
pub use seal::{Place, Sealer};
pub use secrets::StoreSecrets;
pub use sqlite::{SqliteConfig, SqliteStore};
