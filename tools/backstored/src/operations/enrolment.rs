//! How a device comes to belong to an account.

use backstore_protocol::wire::{
    Account as WireAccount, Enrol, ErrorCode, FactorOffer, Invite, Offer, Prove, Register, Registered,
    Released,
};
use backstore_vault::registry::DeviceInfo;
use bytes::Bytes;

use super::entries;
use crate::client::{Answer, Client};
use crate::service::{Refused, Service};

/// An invitation is shown: what it leads to.
pub fn invite(service: &Service, client: &Client, question: Invite, _: &Bytes) -> Answer<Offer> {
    let address = client.address.to_string();
    if !service.may_try(&address) {
        return Err(Refused::because(ErrorCode::Busy, "too many attempts from this address"));
    }
    let registry = service.registry();
    let checked = registry.check_invitation(&question.account, &question.token, service.machine.now_ms());
    service.tried(&address, checked.is_ok());
    let number = checked?;
    let account = registry.account(&question.account)?.and_then(|(_, account)| account);
    let state = registry.state(number)?;
    let factors = state.factors.iter().map(|factor| FactorOffer {
        factor: factor.factor,
        profile: factor.profile as u8,
        salt: factor.salt,
    });
    let offer = Offer { account, factors: factors.collect() };
    client.update(|state| state.invitation = Some((question.account, question.token, number)));
    Ok((offer, Bytes::new()))
}

/// The first device makes the account.
pub fn register(service: &Service, client: &Client, question: Register, tail: &Bytes) -> Answer<Registered> {
    let (name, token, _) = client.state().invitation.ok_or(Refused::new(ErrorCode::BadInvitation))?;
    let registry = service.registry();
    // It may have been used on another connection meanwhile.
    registry.check_invitation(&name, &token, service.machine.now_ms())?;
    let device = registry.register(&name, Some(&token), &client.key, &entries(tail), Some(&question.keys))?;
    Ok(welcome(client, device, &name))
}

/// A later device proves the password.
pub fn prove(service: &Service, client: &Client, question: Prove, _: &Bytes) -> Answer<Released> {
    let (name, _, number) = client.state().invitation.ok_or(Refused::new(ErrorCode::BadInvitation))?;
    if !service.may_try(&name) {
        return Err(Refused::because(ErrorCode::Busy, "too many wrong passwords for this account"));
    }
    let proof =
        service.registry().prove(number, question.factor, &client.channel_binding, &question.signature);
    service.tried(&name, proof.is_ok());
    let keys = proof?;
    client.update(|state| state.proven = Some(number));
    Ok((Released { keys }, Bytes::new()))
}

/// A later device joins.
pub fn enrol(service: &Service, client: &Client, _: Enrol, tail: &Bytes) -> Answer<Registered> {
    let state = client.state();
    let (name, token, number) = state.invitation.ok_or(Refused::new(ErrorCode::BadInvitation))?;
    if state.proven != Some(number) {
        return Err(Refused::new(ErrorCode::WrongPassword));
    }
    let registry = service.registry();
    registry.check_invitation(&name, &token, service.machine.now_ms())?;
    let entries = entries(tail);
    let entry = entries.first().ok_or(Refused::new(ErrorCode::BadFrame))?;
    let device = registry.enrol(number, Some(&token), &client.key, entry)?;
    Ok(welcome(client, device, &name))
}

fn welcome(client: &Client, device: DeviceInfo, name: &str) -> (Registered, Bytes) {
    tracing::info!(account = name, device = %device.device, client = %client.address, "device enrolled");
    client.update(|state| {
        state.device = Some(device);
        state.invitation = None;
    });
    (Registered { account: WireAccount { account: device.account, device: device.device } }, Bytes::new())
}
