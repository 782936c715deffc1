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
                (Some(Object::Quota { limit: before, .. }), Object::Quota { limit, .. })
                    if before != limit =>
                {
                    difference.replace(id, *object, old, new);
                }
                (Some(_), _) => {}
            }
        }

        difference
    }

    /// Puts an object in the place of one with the same name. A quota that is
    /// only given another limit would go on from all that it has seen, also
    /// from what it has dropped.
    fn replace(&mut self, id: &ObjectId, object: Object, old: &Contents, new: &Contents) {
        self.remove_objects.push(id.clone());
        self.add_objects.push((id.clone(), object));
        let kept = old.elements.intersection(&new.elements);
        let users = kept.filter(|(set, element)| {
            set.shape().objects == Some(id.kind) && element.object.as_ref() == Some(&id.name)
        });
        for user in users {
            self.remove.push(user.clone());
            self.add.push(user.clone());
        }
    }

    /// Nothing has to change.
    #[cfg(test)]
    pub(in crate::networkmanager) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
