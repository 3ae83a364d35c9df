//! The numbers of what can go wrong: PROTOCOL.md section 9, "Error codes".

/// Why something was not done; the tail lists the ids concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum ErrorCode {
    /// A frame was not well formed or out of place.
    BadFrame = 100,
    /// A frame's type, or all of the client's versions, are unknown.
    Unsupported = 101,
    /// Something was beyond a limit.
    TooLarge = 102,
    /// The client's key belongs to no device.
    UnknownDevice = 200,
    /// It belongs to a device that was revoked.
    Revoked = 201,
    /// The invitation is unknown, used or expired.
    BadInvitation = 202,
    /// The proof of the password is wrong.
    WrongPassword = 203,
    /// This needs a complete enrolment.
    NotEnrolled = 204,
    /// The account's quota is used up.
    Quota = 300,
    /// The ids in the tail are referred to but not held.
    Missing = 400,
    /// The id in the tail is damaged.
    Damaged = 401,
    /// What was named is not there.
    NotFound = 402,
    /// The lineage has another head: the snapshot id in the tail, if any.
    Conflict = 403,
    /// An object or header is not what it says.
    BadObject = 404,
    /// The lineage was taken over.
    Fenced = 405,
    /// Too much at once.
    Busy = 500,
    /// The server is about to stop.
    Draining = 501,
    /// Its disk is full.
    StorageFull = 502,
    /// Its disk fails.
    StorageFailed = 503,
}

impl ErrorCode {
    const ALL: [Self; 19] = [
        Self::BadFrame,
        Self::Unsupported,
        Self::TooLarge,
        Self::UnknownDevice,
        Self::Revoked,
        Self::BadInvitation,
        Self::WrongPassword,
        Self::NotEnrolled,
        Self::Quota,
        Self::Missing,
        Self::Damaged,
        Self::NotFound,
        Self::Conflict,
        Self::BadObject,
        Self::Fenced,
        Self::Busy,
        Self::Draining,
        Self::StorageFull,
        Self::StorageFailed,
    ];

    /// The code with this number.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u16 == number)
    }
}
