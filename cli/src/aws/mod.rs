//! AWS, as the operators' commands reach it: the account and its credentials, and the meaning of its errors.

mod account;
mod ask;
mod held;
mod login;
mod refused_login;
pub(crate) mod signature;
mod trouble;

pub(crate) use self::{
    account::Account,
    ask::{Asker, Service, between},
    held::Held,
    login::Login,
    trouble::{Kind, Trouble},
};
