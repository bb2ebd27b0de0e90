//! Machine owners, recovery, admission, cgroups.
