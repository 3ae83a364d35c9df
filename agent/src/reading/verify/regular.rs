//! Tree nodes read whole: whoever looks entries up needs only some of a node, whoever verifies wants all of it to be as the format says.

use std::sync::Arc;

use backstore_protocol::ids::ObjectId;
use backstore_protocol::tree::{Node, NodeReader};
use backstore_vfs::objects::ReadError;

/// Reads nodes and refuses those that no encoder would have written.
#[derive(Clone)]
pub(super) struct Regular<R>(pub(super) R);

impl<R: NodeReader<Error = ReadError>> NodeReader for Regular<R> {
    type Error = ReadError;

    fn node(&self, id: &ObjectId) -> Result<Arc<Node>, ReadError> {
        let node = self.0.node(id)?;
        match node.validate() {
            Ok(()) => Ok(node),
            Err(_) => Err(ReadError::Mismatch { id: *id, what: "layout" }),
        }
    }

    fn has_lost(&self) -> bool {
        self.0.has_lost()
    }

    fn is_lost(&self, id: &ObjectId) -> bool {
        self.0.is_lost(id)
    }

    fn soon(&self, ids: &[ObjectId]) {
        self.0.soon(ids);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    struct One(Arc<Node>);

    impl NodeReader for One {
        type Error = ReadError;

        fn node(&self, _: &ObjectId) -> Result<Arc<Node>, ReadError> {
            Ok(Arc::clone(&self.0))
        }
    }

    #[test]
    fn a_node_with_a_reference_that_nothing_uses_is_named() {
        let id = ObjectId::from_bytes([7; 32]);
        let read = |references: &[ObjectId], payload: &'static [u8]| {
            let node = Node::parse(0, references, Bytes::from_static(payload)).unwrap();
            Regular(One(Arc::new(node))).node(&id)
        };
        assert!(read(&[], &[0, 0, 0]).is_ok());
        // No items, one reference to an object of five bytes, no principals.
        let refused = read(&[ObjectId::from_bytes([1; 32])], &[0, 1, 5, 0]);
        assert!(matches!(refused, Err(ReadError::Mismatch { id: named, .. }) if named == id));
    }
}
