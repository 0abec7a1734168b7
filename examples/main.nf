// Score a table in shards and join them:
//     nextflow run examples/main.nf --input variants.parquet --models models/ --output scores.parquet --shards 64
// Set process.executor (slurm, awsbatch, k8s ...) in nextflow.config; -resume keeps the shards that are done.
nextflow.enable.dsl = 2

params.models = "models/"
params.output = "scores.parquet"
params.shards = 8

process SHARD {
    cpus 8
    memory '8 GB'
    errorStrategy 'retry'
    maxRetries 3
    input: tuple val(i), path(table), path(models)
    output: path "shard_${i}.parquet"
    script: "legscore run ${table} -m ${models} -o shard_${i}.parquet --shard ${i}/${params.shards} --threads ${task.cpus} --quiet"
}

process MERGE {
    publishDir file(params.output).toAbsolutePath().parent, mode: 'copy'
    input: path shards
    output: path "${file(params.output).name}"
    script: "legscore merge ${shards} -o ${file(params.output).name} --quiet"
}

workflow {
    table = file(params.input, checkIfExists: true)
    models = file(params.models, checkIfExists: true)
    SHARD(Channel.of(1..params.shards).map { i -> tuple(i, table, models) }) | collect | MERGE
}
