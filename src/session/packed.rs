//! What a session holds in its binary form until it is asked for: a call needs neither the refresh token nor what the
//! page shows of the user.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use crate::secret::{SecretBytes, SecretString};

/// A value that is unpacked when it is first used. Its bytes are checked when they are packed in, so that it is always
/// there, and they are its own: it keeps no opened payload alive.
pub struct Packed<T> {
    /// Not used once there is a value.
    bytes: SecretBytes,
    /// In a box, since a session is moved often and unpacked rarely.
    value: OnceLock<Box<T>>,
}

/// What has a packed form.
pub trait Unpack {
    /// The value of bytes that were checked before.
    fn unpack(bytes: &[u8]) -> Self;
}

impl<T: Unpack> Packed<T> {
    /// Bytes that [`Unpack::unpack`] accepts.
    pub(super) const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: SecretBytes::new(bytes), value: OnceLock::new() }
    }

    /// The bytes, unless there is a value already.
    #[must_use]
    pub fn packed(&self) -> Option<&[u8]> {
        self.value.get().is_none().then_some(&self.bytes)
    }
}

impl<T: Unpack> Deref for Packed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.get_or_init(|| Box::new(T::unpack(&self.bytes)))
    }
}

impl<T: Unpack> DerefMut for Packed<T> {
    #[expect(clippy::expect_used, reason = "the line before sets it")]
    fn deref_mut(&mut self) -> &mut T {
        let _: &T = self;
        self.value.get_mut().expect("the value is set")
    }
}

impl<T> From<T> for Packed<T> {
    fn from(value: T) -> Self {
        Self { bytes: SecretBytes::new(Vec::new()), value: OnceLock::from(Box::new(value)) }
    }
}

impl From<&str> for Packed<SecretString> {
    fn from(text: &str) -> Self {
        SecretString::from(text).into()
    }
}

impl From<String> for Packed<SecretString> {
    fn from(text: String) -> Self {
        SecretString::from(text).into()
    }
}

impl<T: Unpack + Clone> Clone for Packed<T> {
    fn clone(&self) -> Self {
        self.value.get().map_or_else(|| Self::new(self.bytes.to_vec()), |value| T::clone(value).into())
    }
}

impl<T: Default> Default for Packed<T> {
    fn default() -> Self {
        T::default().into()
    }
}

impl<T: Unpack + PartialEq> PartialEq for Packed<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Unpack + Eq> Eq for Packed<T> {}

impl<T: Unpack + fmt::Debug> fmt::Debug for Packed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}
