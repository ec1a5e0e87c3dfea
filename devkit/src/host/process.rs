//! The handler process: started, probed, restarted, killed.

mod command_line;
mod crashes;
mod handler;
mod probe;
mod supervisor;

pub(super) use self::handler::{Handler, Order, Phase};
pub(super) use self::probe::Probe;
pub(super) use self::supervisor::{Plan, supervise};
