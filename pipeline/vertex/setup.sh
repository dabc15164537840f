#!/usr/bin/env bash
# Prepares a Google Cloud project for the pipeline, and changes nothing that is already there:
#
#     pipeline/vertex/setup.sh PROJECT REGION BUCKET
#
# APIs, the bucket, the repository of the images, an account that runs the pipeline, one that builds
# the images, and their roles. Whoever runs this needs to be an Owner, or an Editor who may set IAM
# policies; `vertex_runner.py doctor` then checks everything.
set -euo pipefail

if [ "$#" -ne 3 ]; then
  echo "usage: $0 PROJECT REGION BUCKET" >&2
  exit 2
fi
project=$1 region=$2 bucket=${3#gs://}
runner=detector@$project.iam.gserviceaccount.com
builder=detector-build@$project.iam.gserviceaccount.com  # cloudbuild.yaml names it
cloud() { gcloud --project "$project" --quiet "$@"; }

you=$(gcloud config get-value account 2>/dev/null)
case $you in
  *.gserviceaccount.com) you=serviceAccount:$you ;;
  *) you=user:$you ;;
esac

echo "APIs"
cloud services enable aiplatform.googleapis.com storage.googleapis.com dataflow.googleapis.com \
  artifactregistry.googleapis.com compute.googleapis.com iamcredentials.googleapis.com \
  cloudbuild.googleapis.com cloudresourcemanager.googleapis.com serviceusage.googleapis.com

echo "bucket gs://$bucket"
cloud storage buckets describe "gs://$bucket" >/dev/null 2>&1 \
  || cloud storage buckets create "gs://$bucket" --location="$region" \
    --uniform-bucket-level-access --public-access-prevention

echo "repository detector"
cloud artifacts repositories describe detector --location="$region" >/dev/null 2>&1 \
  || cloud artifacts repositories create detector --repository-format=docker --location="$region"

for account in "$runner" "$builder"; do
  echo "account $account"
  cloud iam service-accounts describe "$account" >/dev/null 2>&1 \
    || cloud iam service-accounts create "${account%%@*}"
done

# An account that was just created may be unknown to IAM for some seconds.
grant() {
  for wait in 5 10 20 40; do
    cloud "$@" >/dev/null && return
    sleep "${SETUP_WAIT:-$wait}"
  done
  cloud "$@" >/dev/null
}

echo "roles"
for role in aiplatform.user dataflow.admin dataflow.worker artifactregistry.reader; do
  grant projects add-iam-policy-binding "$project" \
    --member="serviceAccount:$runner" --role="roles/$role" --condition=None
done
# Newer projects give no account the right to build: logs, sources and the repository.
grant projects add-iam-policy-binding "$project" \
  --member="serviceAccount:$builder" --role=roles/cloudbuild.builds.builder --condition=None
for role in storage.objectAdmin storage.legacyBucketReader; do
  grant storage buckets add-iam-policy-binding "gs://$bucket" \
    --member="serviceAccount:$runner" --role="roles/$role"
done
# The pipeline starts jobs that run as the same account; you start builds and runs, and `doctor`
# asks in the account's name.
grant iam service-accounts add-iam-policy-binding "$runner" \
  --member="serviceAccount:$runner" --role=roles/iam.serviceAccountUser
grant iam service-accounts add-iam-policy-binding "$builder" \
  --member="$you" --role=roles/iam.serviceAccountUser
for role in iam.serviceAccountUser iam.serviceAccountTokenCreator; do
  grant iam service-accounts add-iam-policy-binding "$runner" --member="$you" --role="roles/$role"
done

echo
echo "next, build the images:"
echo "  make images REPOSITORY=$region-docker.pkg.dev/$project/detector"
echo "then check everything:"
echo "  .venv/bin/python vertex_runner.py doctor --project $project --region $region" \
  "--bucket $bucket --service-account $runner --pipeline-image ... --trainer-image ..."
