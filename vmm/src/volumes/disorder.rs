//! Disks that fail, to order: not in release builds, unless the feature `chaos` is asked for.

use rustix::io::Errno;
use sentient_abi::volumes::Wanted;

/// What is to go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disorder {
    /// So many calls fail.
    pub failing: u32,
    /// So many writes stop half way.
    pub short: u32,
}

impl Disorder {
    /// A call as it comes to be.
    ///
    /// # Errors
    /// `EIO`, if it is to fail.
    pub fn disturb<'a>(&mut self, wanted: Wanted<'a>) -> Result<Wanted<'a>, Errno> {
        if let Some(left) = self.failing.checked_sub(1) {
            self.failing = left;
            return Err(Errno::IO);
        }
        match (wanted, self.short.checked_sub(1)) {
            (Wanted::Write(handle, at, bytes), Some(left)) => {
                self.short = left;
                let half = bytes.get(..bytes.len().div_ceil(2)).unwrap_or(bytes);
                Ok(Wanted::Write(handle, at, half))
            }
            (wanted, _) => Ok(wanted),
        }
    }
}
