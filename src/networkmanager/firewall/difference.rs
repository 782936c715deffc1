//! What has to change for contents to become others.

use super::contents::{Contents, Element, Object, ObjectId};
use super::sets::SetId;

/// Steps from one contents to another. Removals come first: an element can move
/// from one owner to the next in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::networkmanager) struct Difference {
    pub(in crate::networkmanager) remove: Vec<(SetId, Element)>,
    pub(in crate::networkmanager) remove_objects: Vec<ObjectId>,
    pub(in crate::networkmanager) add_objects: Vec<(ObjectId, Object)>,
    /// Quotas that get another limit, and keep what they have seen.
    pub(in crate::networkmanager) set_limits: Vec<(ObjectId, Object)>,
    pub(in crate::networkmanager) add: Vec<(SetId, Element)>,
}

impl Difference {
    /// The steps from `old` to `new`. What an object has seen is no difference.
    pub(in crate::networkmanager) fn between(old: &Contents, new: &Contents) -> Self {
        let mut difference = Self {
            remove: old.elements.difference(&new.elements).cloned().collect(),
            add: new.elements.difference(&old.elements).cloned().collect(),
            ..Self::default()
        };
        for id in old.objects.keys() {
            if !new.objects.contains_key(id) {
                difference.remove_objects.push(id.clone());
            }
        }
        for (id, object) in &new.objects {
            match (old.objects.get(id), object) {
                (None, _) => difference.add_objects.push((id.clone(), *object)),
                (Some(Object::Quota { limit: old, .. }), Object::Quota { limit, .. })
                    if old != limit =>
                {
                    difference.set_limits.push((id.clone(), *object));
                }
                (Some(_), _) => {}
            }
        }

        difference
    }

    /// Nothing has to change.
    #[cfg(test)]
    pub(in crate::networkmanager) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
