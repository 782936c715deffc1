use super::*;

fn list(indices: &[i64]) -> (DesiredState, BTreeMap<InstanceIdent, InstanceId>) {
    let ident = |index| InstanceIdent {
        service_id: "web".into(),
        subject_id: "me".into(),
        index,
    };
    let instances = indices
        .iter()
        .map(|index| InstanceInfo {
            ident: ident(*index),
            uid: 5000,
            ..Default::default()
        })
        .collect();
    let ids = indices
        .iter()
        .map(|index| {
            (
                ident(*index),
                InstanceId::from_u128(u128::from(index.unsigned_abs())),
            )
        })
        .collect();
    (
        DesiredState {
            instances,
            ..Default::default()
        },
        ids,
    )
}

fn store() -> Store {
    Store::new(Database::in_memory().unwrap())
}

#[tokio::test]
async fn what_is_saved_comes_back_in_its_order() {
    let store = store();
    let (mut desired, ids) = list(&[3, 1, 2]);
    desired.services.push(ServiceInfo {
        id: "web".into(),
        gid: 7,
        ..Default::default()
    });

    store.save(desired.clone(), ids).await.unwrap();
    let stored = store.load().await.unwrap();

    assert_eq!(stored.list, desired);
    assert_eq!(stored.instances.len(), 3);
}

#[tokio::test]
async fn an_instance_that_is_no_longer_desired_stays_until_it_is_forgotten() {
    let store = store();
    let (both, ids) = list(&[1, 2]);
    store.save(both, ids).await.unwrap();
    let (one, ids) = list(&[1]);
    store.save(one, ids).await.unwrap();

    let before = store.load().await.unwrap();
    store.forget(InstanceId::from_u128(2)).await.unwrap();
    store.forget(InstanceId::from_u128(1)).await.unwrap();
    let after = store.load().await.unwrap();

    assert_eq!(
        (before.list.instances.len(), before.instances.len()),
        (1, 2)
    );
    assert_eq!(after.instances.len(), 1, "the desired one is not forgotten");
}

#[tokio::test]
async fn an_ident_that_comes_back_under_a_new_id_replaces_the_old_row() {
    let store = store();
    let (desired, mut ids) = list(&[1]);
    store.save(desired.clone(), ids.clone()).await.unwrap();
    store
        .save(DesiredState::default(), BTreeMap::new())
        .await
        .unwrap();

    ids.values_mut()
        .for_each(|id| *id = InstanceId::from_u128(9));
    store.save(desired, ids).await.unwrap();
    let stored = store.load().await.unwrap();

    let ids: Vec<_> = stored.instances.iter().map(|row| row.id).collect();
    assert_eq!(ids, [InstanceId::from_u128(9)]);
}

#[tokio::test]
async fn values_that_cannot_be_read_are_left_out_and_the_rest_comes_back() {
    let store = store();
    let (desired, ids) = list(&[1, 2]);
    store.save(desired, ids).await.unwrap();
    let damage = "UPDATE instances SET info = '{', held = 'x' WHERE instance = 1;
                  UPDATE config SET value = '[]'";
    store
        .database
        .call(|connection| Ok(connection.execute_batch(damage)?))
        .await
        .unwrap();

    let stored = store.load().await.unwrap();

    assert_eq!(
        (stored.list.instances.len(), stored.instances.len()),
        (1, 2)
    );
    assert_eq!(stored.instances[0].held, None);
}

#[tokio::test]
async fn what_an_instance_was_started_with_survives_a_new_list() {
    let store = store();
    let (desired, ids) = list(&[1]);
    let held = Held {
        fingerprint: "abc".into(),
        info: desired.instances[0].clone(),
        service: ServiceKey {
            id: "web".into(),
            version: 1,
        },
        trial: None,
    };
    store.save(desired.clone(), ids.clone()).await.unwrap();
    store
        .runs_with(InstanceId::from_u128(1), held.clone())
        .await
        .unwrap();

    store.save(desired, ids).await.unwrap();
    let stored = store.load().await.unwrap();

    assert_eq!(stored.instances[0].held, Some(held));
}
